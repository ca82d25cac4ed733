"""Functions for Google's Functions Framework, which is an HTTP server around one of them."""

from __future__ import annotations

import re
from collections.abc import Collection

from python_plan.app import App

_DECORATED = r"(?m)^@(?:functions_framework\.)?(?:http|cloud_event|typed)\b[^\n]*\n(?:@[^\n]*\n)*def (\w+)\("
_TAKES_A_REQUEST = r"(?m)^def (\w+)\(\s*(?:request|cloud_event|event|req)\b"


def find(app: App, installed: Collection[str]) -> tuple[str, str] | None:
    """The command and what it was chosen by. The config var FUNCTION_TARGET names another function."""
    text = app.text("main.py")
    if "functions-framework" not in installed or not text:
        return None
    decorated = re.findall(_DECORATED, text)
    if not decorated and re.search(r"(?m)^\w+\s*(?::[^=\n]+)?=\s*(?:\w+\.)?(?:Flask|APIFlask|Bottle|FlaskApp)\(", text):
        return None
    names = decorated or re.findall(_TAKES_A_REQUEST, text)
    if not names and "FUNCTION_TARGET" not in app.config:
        return None
    target = f"${{FUNCTION_TARGET:-{names[0]}}}" if len(names) == 1 else "$FUNCTION_TARGET"
    return (
        f"functions-framework --host 0.0.0.0 --port $PORT --target {target}",
        "main.py and Google's Functions Framework",
    )

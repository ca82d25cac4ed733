"""Functions for Google's Functions Framework, which is an HTTP server around one of them."""

from __future__ import annotations

import re

from app import App

PACKAGE = "@google-cloud/functions-framework"
_REGISTERED = r"\b(?:http|cloudEvent)\(\s*['\"]([\w.-]+)['\"]"
_EXPORTED = r"(?m)^\s*(?:module\.)?exports\.(\w+)\s*=|^export\s+(?:async\s+)?(?:const|function)\s+(\w+)"


def find(app: App) -> tuple[str, str] | None:
    """The command and what it was chosen by. The config var FUNCTION_TARGET names another function."""
    # As a tool for development alone it is gone when the app starts.
    if PACKAGE not in app.dependencies:
        return None
    main = app.manifest.get("main")
    stems = [str(main).removeprefix("./").rsplit(".", 1)[0]] if isinstance(main, str) and main else []
    text = app.text(
        app.first(*(f"{stem}.{end}" for stem in (*stems, "index", "function") for end in ("js", "mjs", "cjs", "ts")))
    )
    names = list(
        dict.fromkeys(re.findall(_REGISTERED, text) or ["".join(pair) for pair in re.findall(_EXPORTED, text)])
    )
    option = f" --target ${{FUNCTION_TARGET:-{names[0]}}}" if len(names) == 1 else ""
    return f"functions-framework{option}", "Google's Functions Framework"

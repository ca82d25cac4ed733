"""``plan.py BUILD_DIR ENV_DIR``: prints the plan of an app that is a shell script as one JSON object."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, os.environ.get("BUILDFARM_LIBRARY", "/usr/lib/buildfarm"))

from planning import ProblemError, read, run

SCRIPT = "start.sh"


def make(root: Path, config: dict[str, str]) -> dict[str, Any]:
    text = read(root / SCRIPT)
    if not text.strip():
        raise ProblemError(f"{SCRIPT} is empty. Write into it how the app starts.")
    if "\r\n" in text:
        raise ProblemError(
            f"{SCRIPT} has Windows line endings, which bash and sh cannot read. Save it with Unix line endings (LF)."
        )
    interpreter, because = choose_interpreter(text)
    return {
        "found": [SCRIPT],
        "language": {"name": interpreter, "version": "the builder's", "because": because},
        "processes": {"web": f"exec {interpreter} {SCRIPT}"},
        "because": f"found {SCRIPT}",
    }


def choose_interpreter(text: str) -> tuple[str, str]:
    """What runs the script: what its first line names, with the options there, or bash."""
    first = re.match(r"#!\s*(\S+)[ \t]*(.*)", text)
    if not first:
        return "bash", f"{SCRIPT} names no interpreter in its first line"
    words = first[2].split()
    if first[1].endswith("/env"):
        words = words[1:] if words[:1] == ["-S"] else words
        program, options = (words[0] if words else "bash"), words[1:]
    else:
        program, options = first[1].rsplit("/", 1)[-1], words
    if not shutil.which(program):
        raise ProblemError(
            f"{SCRIPT} names {program} in its first line, which the builder does not have. Write it for bash or sh, or "
            f"install {program} with an Aptfile and start it in a Procfile."
        )
    return " ".join([program, *options]), f"the first line of {SCRIPT}"


if __name__ == "__main__":
    run("shell", make)

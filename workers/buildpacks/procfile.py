"""The Procfile: which processes an app has (Heroku, "The Procfile"; Scalingo, "Procfile"). Pure."""

from __future__ import annotations

import json
import re

from buildfarm.errors import CompileError

TYPES_MAX = 50
PROCESS_TYPE = re.compile(r"[A-Za-z0-9_-]{1,63}")
# What steers a terminal, or ends a string where it is read next; a tab and a line's end do neither.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_INSTRUCTION = re.compile(r"(?im)^[ \t]*(CMD|ENTRYPOINT)[ \t]+((?:[^\n]*\\[ \t]*\n)*[^\n]*)")
_SHOWN = 100


def parse_procfile(text: str) -> dict[str, str]:
    """A Procfile's ``type: command`` lines. Raises CompileError that names the first line which is none."""
    types: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, command = (part.strip() for part in line.strip().partition(":"))
        if not PROCESS_TYPE.fullmatch(name) or not command or CONTROL.search(command):
            raise CompileError(
                f"Procfile, line {number} is not a process type: {line.strip()[:80]!r}.",
                advice="Write it as `web: command`.",
            )
        types[name] = command
    if len(types) > TYPES_MAX:
        raise CompileError(f"The Procfile names {len(types)} process types; the limit is {TYPES_MAX}.")
    return types


def merge_types(defaults: dict[str, str], procfile: str | None, *, whole: bool) -> dict[str, str]:
    """The app's process types. A Procfile wins over a buildpack's defaults: as a ``whole``, or type by type."""
    named = parse_procfile(procfile or "")
    return named if named and whole else {**defaults, **named}


def dockerfile_hint(text: str | None) -> str:
    """A sentence with the last CMD or ENTRYPOINT; empty if there is none (Docker, "Dockerfile reference")."""
    found = _INSTRUCTION.findall(text or "")
    if not found:
        return ""
    command = " ".join(_words(re.sub(r"\\[ \t]*\n", " ", found[-1][1])))
    return f" The Dockerfile, which is not used here, starts `{command[:_SHOWN]}`." if command.isprintable() else ""


def _words(written: str) -> list[str]:
    """The command in its exec form, or in its shell form."""
    try:
        words = json.loads(written)
    except ValueError:
        words = None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else written.split()

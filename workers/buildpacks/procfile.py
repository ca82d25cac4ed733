"""The Procfile: which processes an app has (Heroku, "The Procfile"; Scalingo, "Procfile"). Pure."""

from __future__ import annotations

import re

from buildfarm.errors import CompileError

TYPES_MAX = 50
PROCESS_TYPE = re.compile(r"[A-Za-z0-9_-]{1,63}")
# What steers a terminal, or ends a string where it is read next; a tab and a line's end do neither.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


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

"""Requirements files: what they name, which files they include, and whether the same text always installs the same."""

from __future__ import annotations

import re
from typing import NamedTuple

from python_plan.app import App, normal

# The first of these that is there is installed.
NAMES = (
    "requirements.txt",
    "requirements/production.txt",
    "requirements/prod.txt",
    "requirements/base.txt",
    "requirements-prod.txt",
    "requirements_prod.txt",
)

_INCLUDE = re.compile(r"(?:-r|--requirement|-c|--constraint)(?:\s+|=)?\s*(\S+)")
_EDITABLE = re.compile(r"(?:-e|--editable)(?:\s+|=)\s*(\S+)")
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?\s*(.*)$")
_PINNED = re.compile(r"@[0-9a-f]{40}(?:#|$)|--hash[= ]|#sha256=[0-9a-f]{64}")
_ARCHIVES = (".whl", ".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")


class Requirements(NamedTuple):
    """``names`` with their extras; ``files`` in the order in which they are read; ``moving``: a line that may mean
    something else tomorrow; ``missing``: files that are included and not there."""

    names: dict[str, tuple[str, ...]]
    files: list[str]
    moving: str
    missing: list[str]


def read(app: App, name: str) -> Requirements:
    names: dict[str, tuple[str, ...]] = {}
    files, missing, moving = [name], [], ""
    for file in files:
        if not app.has(file):
            missing.append(file)
            continue
        for line in logical_lines(app.text(file)):
            if include := _INCLUDE.match(line):
                path = _beside(file, include[1])
                if "://" in include[1]:
                    moving = moving or line
                elif path not in files:
                    files.append(path)
                continue
            names.update(_named(line))
            moving = moving or (line if _moves(line) else "")
    return Requirements(names, files, moving, missing)


def logical_lines(text: str) -> list[str]:
    joined = re.sub(r"\\\r?\n", " ", text)
    lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def parse(line: str) -> dict[str, tuple[str, ...]]:
    """The distribution that one line names, with its extras; nothing for a path or an option."""
    return _named(line)


def _named(line: str) -> dict[str, tuple[str, ...]]:
    if egg := re.search(r"#(?:.*&)?egg=([\w.-]+)", line):
        return {normal(egg[1]): ()}
    found = _NAMED.match(line)
    if found is None or line.startswith("-") or found[3].startswith(("/", "\\", ":", "+")) or _is_archive(line):
        return {}
    extras = tuple(normal(extra.strip()) for extra in (found[2] or "").split(",") if extra.strip())
    return {normal(found[1]): extras}


def _moves(line: str) -> bool:
    """Whether the line names a path or an address whose content may change, and not a release of an index."""
    if _PINNED.search(line) and "://" in line:
        return False
    target = line.split(";", maxsplit=1)[0].split(" --", maxsplit=1)[0].strip()
    if _EDITABLE.match(line) or re.match(r"(-f|--find-links)\b", line):
        return True
    if line.startswith("-"):
        return False
    return "@" in target or "/" in target or target.startswith((".", "file:")) or _is_archive(target)


def _is_archive(text: str) -> bool:
    return text.split(";", maxsplit=1)[0].split(maxsplit=1)[0].endswith(_ARCHIVES)


def _beside(file: str, path: str) -> str:
    parts: list[str] = file.split("/")[:-1]
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in (".", ""):
            parts.append(part)
    return "/".join(parts)

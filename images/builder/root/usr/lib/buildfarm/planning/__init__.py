"""What the plans of several buildpacks read and print alike."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

TYPE_CHECKING = False  # of typing, whose import takes 4 ms of every build
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Make = Callable[[Path, dict[str, str]], dict[str, Any]]

READ_MAX_BYTES = 1 << 20
FILES_MAX = 20_000


class ProblemError(Exception):
    """The app cannot be built as it is; the sentence says why and what to do."""


def run(buildpack: str, make: Make) -> None:
    """``plan BUILD_DIR ENV_DIR``: print the plan of the app in BUILD_DIR as one JSON object."""
    print(json.dumps(plan_of(buildpack, make, Path(sys.argv[1]), read_config(Path(sys.argv[2]))), indent=2))


def plan_of(buildpack: str, make: Make, root: Path, config: dict[str, str]) -> dict[str, Any]:
    """What `make` decides for an app and its config vars, complete. A ProblemError becomes its problem."""
    plan: dict[str, Any] = {
        "buildpack": buildpack,
        "found": [],
        "steps": [],
        "processes": {},
        "because": "",
        "warnings": [],
        "problems": [],
    }
    try:
        return plan | make(root, config)
    except ProblemError as problem:
        return plan | {"problems": [str(problem)]}


def read_config(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    return {path.name: path.read_text(errors="replace") for path in folder.iterdir() if path.is_file()}


def read(path: Path) -> str:
    """The beginning of a text file in UTF-8 or UTF-16, without a byte order mark; empty if there is no file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return decode(file.read(READ_MAX_BYTES))


def decode(content: bytes) -> str:
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return content.decode(encoding, errors="replace")


def found(root: Path, *names: str) -> list[str]:
    return [name for name in names if (root / name).exists()]


def walk(root: Path, without: Callable[[Path], bool]) -> Iterator[Path]:
    """The files below `root`, sorted, except in hidden folders, links to folders, and folders that `without` names."""
    count = 0
    folders = [root]
    while folders:
        entries = sorted(folders.pop().iterdir(), key=lambda path: path.name)
        for path in entries:
            if path.is_file():
                count += 1
                if count > FILES_MAX:
                    return
                yield path
        folders += [
            path
            for path in reversed(entries)
            if path.is_dir() and not path.is_symlink() and not path.name.startswith(".") and not without(path)
        ]


def tool_version(root: Path, *names: str) -> tuple[str, str] | None:
    """The version that .tool-versions or mise.toml names for a tool of any of these names, and the file."""
    for line in read(root / ".tool-versions").splitlines():
        words = line.split("#")[0].split()
        if len(words) > 1 and words[0] in names:
            return words[1], ".tool-versions"
    for file in ("mise.toml", ".mise.toml"):
        for name in names:
            line_of = re.search(
                rf"""^\s*["']?{name}["']?\s*=\s*(?:\{{[^}}]*version\s*=\s*)?["']([^"']+)["']""",
                read(root / file),
                re.MULTILINE,
            )
            if line_of:
                return line_of[1], file
    return None


def without_comments(text: str) -> str:
    """JSON as people write it: comments and commas before an end are taken out."""
    text = re.sub(r'("(?:\\.|[^"\\\n])*")|//[^\n]*|/\*.*?\*/', lambda part: part[1] or "", text, flags=re.DOTALL)
    return re.sub(r'("(?:\\.|[^"\\\n])*")|,(?=\s*[}\]])', lambda part: part[1] or "", text)


def read_json(path: Path) -> dict[str, Any]:
    """A file's JSON object, in which comments are allowed; empty if there is no file.

    Raises:
        ProblemError: the file is not a JSON object
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(without_comments(read(path)))
    except ValueError as error:
        raise ProblemError(f"{path.name} is not valid JSON: {error}. Correct it and build again.") from error
    if not isinstance(content, dict):
        raise ProblemError(f"{path.name} is not a JSON object. Correct it and build again.")
    return content

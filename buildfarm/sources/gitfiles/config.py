"""The three settings of git's configuration that decide what belongs to a source (git-config(1), "Syntax")."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_DEPTH_MAX = 10  # of files that include each other, as git has it
_FILES_MAX = 100  # of one checkout: ten that include each other often would be read without end
_FILE_BYTES_MAX = 1024 * 1024

_SECTION = re.compile(rb'\[\s*([\w.-]+)(?:\s+"((?:[^"\\\n]|\\.)*)")?\s*\]')
_NAME = re.compile(rb"([A-Za-z][\w-]*)[ \t]*(=?)[ \t]*")
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"b": b"\b", b'"': b'"', b"\\": b"\\"}
_TRUE = (b"true", b"yes", b"on", b"1")


@dataclass(frozen=True)
class GitSettings:
    """What the files say together; later files win."""

    excludes_file: Path | None
    ignore_case: bool = False
    id_bytes: int = 20  # of an object id


def read_settings(repository: Path | None, top: Path, environment: Mapping[str, str]) -> GitSettings:
    """The settings for a checkout: of the system, of the user, and of the repository whose common folder is given.

    What cannot be read counts as absent. ``includeIf`` is not followed.
    """
    home = Path(environment.get("HOME") or "/nonexistent")
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "git"
    found: dict[str, bytes] = {}
    left = iter(range(_FILES_MAX))
    own = [] if repository is None else [repository / "config"]
    for path in [Path("/etc/gitconfig"), user / "config", home / ".gitconfig", *own]:
        found |= dict(_entries(path, home, _DEPTH_MAX, left))
    named = os.fsdecode(found["core.excludesfile"]) if "core.excludesfile" in found else str(user / "ignore")
    ignore_case = found.get("core.ignorecase", b"false").lower() in _TRUE
    id_bytes = 32 if found.get("extensions.objectformat") == b"sha256" else 20
    return GitSettings(top / _expanded(named, home) if named else None, ignore_case, id_bytes)


def _expanded(path: str, home: Path) -> Path:
    return home / path[2:] if path.startswith("~/") else Path(path)


def _entries(path: Path, home: Path, depth: int, left: Iterator[int]) -> Iterator[tuple[str, bytes]]:
    """Names in lower case and values of a file, and of the files that it includes, in order, while any are ``left``."""
    if next(left, None) is None:
        return
    try:
        if not path.is_file():  # opening a pipe would wait
            return
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX)
    except OSError:
        return
    for name, value in parse(content):
        yield name, value
        if name == "include.path" and depth:
            yield from _entries(path.parent / _expanded(os.fsdecode(value), home), home, depth - 1, left)


def parse(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Names in lower case and values. What follows a mistake is not read: git would refuse the whole file."""
    text = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    section, at = "", 0
    while at < len(text):
        if text[at : at + 1].isspace():
            at += 1
        elif text[at : at + 1] in b"#;":
            at = (text.find(b"\n", at) + 1) or len(text)
        elif begun := _SECTION.match(text, at):
            inner = b"" if begun[2] is None else b"." + begun[2]
            section, at = os.fsdecode(begun[1].lower() + inner) + ".", begun.end()
        elif section and (named := _NAME.match(text, at)):
            value, at = _value(text, named.end()) if named[2] else (b"true", named.end())
            yield section + named[1].decode().lower(), value
        else:
            return


def _value(text: bytes, at: int) -> tuple[bytes, int]:
    """The value that begins here, and where its line ends. Blanks at its end count only in quotes."""
    value, kept, quoted = bytearray(), 0, False
    while at < len(text) and text[at : at + 1] != b"\n":
        char = text[at : at + 1]
        at += 1
        if char == b"\\":
            escaped = text[at : at + 1]
            at += 1
            value += _ESCAPES.get(escaped, b"")  # a backslash at a line's end joins the next line
            kept = len(value)
        elif char == b'"':
            quoted, kept = not quoted, len(value)
        elif char in b"#;" and not quoted:
            end = text.find(b"\n", at)
            at = len(text) if end < 0 else end
        else:
            value += char
            kept = kept if char.isspace() and not quoted else len(value)
    return bytes(value[:kept]), at

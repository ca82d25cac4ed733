"""What is wrong with the text files that a bundled buildpack reads, found before anything is compiled. Pure."""

from __future__ import annotations

import re

from buildfarm.errors import CompileError
from buildfarm.sources.text import decode_text, has_mark

# As in bin/compile of the buildpack `apt`.
PACKAGE = r"[a-z0-9][a-z0-9+.:-]*(=[A-Za-z0-9.+~:-]+)?"
_WORD = re.compile(rf"{PACKAGE}|https?://.*\.deb")
# What pip looks at (PEP 263), and what git leaves in a file.
_CODING = re.compile(rb"(?:[^\n]*\n)?#[^\n]*?coding[:=][ \t]*([-\w.]+)")
_MARKER = re.compile(r"(?:<{7}|={7}|>{7})(?: .*)?")

_NOT_UTF8 = "Save it as UTF-8."


def in_aptfile(content: bytes) -> CompileError | None:
    """The first mistake."""
    try:
        text = decode_text(content)
    except ValueError as error:
        return CompileError(f"The Aptfile {error}.", advice=_NOT_UTF8)
    for number, line in enumerate(text.split("\n"), start=1):
        for word in line.partition("#")[0].split():
            if not _WORD.fullmatch(word):
                return CompileError(
                    f"Aptfile, line {number}: {word[:80]!r} is not the name of a package.",
                    advice="Write names of packages and URLs of .deb files.",
                )
    return None


def in_requirements(content: bytes) -> CompileError | None:
    """The first mistake in requirements.txt; only what pip can make nothing of."""
    try:
        text = decode_text(content)
    except ValueError as error:
        if _is_declared(content):
            return None
        return CompileError(f"The requirements.txt {error}.", advice=_NOT_UTF8)
    if b"\0" in content and "\0" not in text and not has_mark(content):
        return CompileError("The requirements.txt is UTF-16 without a byte order mark.", advice=_NOT_UTF8)
    for number, line in enumerate(text.split("\n"), start=1):
        if _MARKER.fullmatch(line):
            return CompileError(
                f"requirements.txt, line {number} is a merge marker: {line[:80]!r}.",
                advice="Resolve the conflict that git left in the file.",
            )
    return None


def _is_declared(content: bytes) -> bool:
    """Whether the file names the encoding that it is in."""
    declared = _CODING.match(content)
    try:
        return declared is not None and bool(content.decode(declared[1].decode()))
    except (LookupError, ValueError):
        return False

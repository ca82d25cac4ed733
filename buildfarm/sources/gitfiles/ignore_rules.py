"""Ignore files as git reads them: lines, the rules they stand for, and which rule decides (gitignore(5), dir.c)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from buildfarm.sources.gitfiles import wildmatch

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Rule:
    """A line of an ignore file."""

    text: bytes
    line: int
    negative: bool  # it takes back what an earlier rule ignores
    folders_only: bool
    by_name: bool  # it is compared with an entry's last component rather than with its path
    literal: bytes | None  # what it names, if it has no special character
    glob: re.Pattern[bytes] | None

    def names(self, path: bytes, name: bytes, *, is_folder: bool) -> bool:
        """Whether it names the entry at ``path``, relative to the ignore file's folder."""
        if self.folders_only and not is_folder:
            return False
        text = name if self.by_name else path
        if self.literal is not None:
            return text == self.literal
        return self.glob is not None and self.glob.fullmatch(text) is not None


@dataclass(frozen=True)
class RuleFile:
    """The rules of one ignore file, and the folder that they apply to: ``""``, or a path with a slash behind it."""

    origin: str
    base: bytes
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Decision:
    """The rule that decides about an entry."""

    origin: str
    rule: Rule

    @property
    def detail(self) -> str:
        """The line, as `git check-ignore` shows it."""
        return f"line {self.rule.line}: {os.fsdecode(self.rule.text)}"


def parse(content: bytes, *, ignore_case: bool = False) -> tuple[Rule, ...]:
    """The rules of an ignore file. Lines that git cannot use name nothing."""
    lines = content.removeprefix(_BOM).split(b"\n")
    return tuple(_rules(lines, ignore_case))


def _rules(lines: Iterable[bytes], ignore_case: bool) -> Iterator[Rule]:
    for number, line in enumerate(lines, start=1):
        # One CR before the line's end belongs to it; others, as macOS has in `Icon\r`, belong to the name.
        text = _without_trailing_blanks(line.removesuffix(b"\r").partition(b"\0")[0])
        if text and not text.startswith(b"#"):
            yield _rule(text, number, ignore_case)


def _without_trailing_blanks(line: bytes) -> bytes:
    """Blanks at the end do not count unless a backslash stands before them."""
    end = len(line.rstrip(b" "))
    slashes = end - len(line[:end].rstrip(b"\\"))
    return line[: end + 1] if slashes % 2 else line[:end]


def _rule(text: bytes, number: int, ignore_case: bool) -> Rule:
    pattern = text.removeprefix(b"!")
    folders_only = pattern.endswith(b"/")
    pattern = pattern[:-1] if folders_only else pattern
    by_name = b"/" not in pattern
    pattern = pattern.removeprefix(b"/")
    plain = not any(char in wildmatch.SPECIAL for char in pattern)
    return Rule(
        text=text,
        line=number,
        negative=text.startswith(b"!"),
        folders_only=folders_only,
        by_name=by_name,
        literal=(pattern.lower() if ignore_case else pattern) if plain else None,
        glob=None if plain else wildmatch.compile_glob(pattern, ignore_case=ignore_case),
    )


def decide(files: Iterable[RuleFile], path: bytes, *, is_folder: bool, ignore_case: bool) -> Decision | None:
    """The last rule that names the entry, of the first of these files that has one; None if no rule does.

    ``files`` come in the order of their weight: the ignore file nearest to the entry first.
    """
    path = path.lower() if ignore_case else path
    name = path.rpartition(b"/")[2]
    for file in files:
        below = path[len(file.base) :]
        for rule in reversed(file.rules):
            if rule.names(below, name, is_folder=is_folder):
                return Decision(file.origin, rule)
    return None

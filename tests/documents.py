"""The documents' command blocks: which are run by a test, and which are marked as not run, with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "helm/README.md", "docs/**/*.md", "images/*/README.md")
# A page of a repository does not show the mark that stands before a block.
_BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]+) -->\n\n?)?^```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of commands; ``not_run`` is why no test runs it, or empty."""

    page: str
    line: int
    text: str
    not_run: str = ""

    @property
    def commands(self) -> list[str]:
        """Each command as typed: without the prompt, comments and line breaks inside."""
        joined = re.sub(r"\s*\\\n\s*", " ", self.text)
        lines = [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
        return [re.sub(r"\s{2,}# .*$|\s#\s.*$", "", line).strip() for line in lines]


def blocks() -> Iterator[Block]:
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            yield from blocks_of(path.read_text(), str(path.relative_to(ROOT)))


def blocks_of(text: str, page: str) -> Iterator[Block]:
    for found in _BLOCK.finditer(text):
        mark = found["mark"] or ""
        reason = mark.removeprefix("not run: ") if mark.startswith("not run: ") else recorder(mark)
        yield Block(page, text.count("\n", 0, found.start("text")), found["text"], reason)


def recorder(mark: str) -> str:
    """What has run a block whose output is recorded; empty if it is not."""
    return mark if re.fullmatch(r"output: written by tools/[\w-]+", mark) else ""

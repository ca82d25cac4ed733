"""The list of keys in docs/redis-keys.md, and whether keys in Redis keep to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "redis-keys.md"
EXPIRES, BUILD, ARCHIVED, ARCHIVE = "expires", "ends with the build", "ends when archived", "ends with the archive"

_BOUNDS = re.compile(rf"({EXPIRES}|{BUILD}|{ARCHIVED}|{ARCHIVE}|at most ([\d,]+)|one for each)\b.*")
# Tenants, classes and nodes have no colon in their names; an image build's app has one.
_PLACEHOLDERS = {"app": r"[^/ ]+", "repository": r"[^: ]+", "whose": r".+", "key": r".+", "queue": r".+"}


@dataclass(frozen=True)
class KeyRow:
    """A kind of key: one of the patterns in a row of the page."""

    pattern: str
    type: str
    bounds: tuple[str, ...]

    def matches(self, key: str) -> bool:
        """Whether it is the kind of this key, which is without its namespace."""
        parts = re.split(r"<(\w+)>", self.pattern)
        texts = [re.escape(part) if not n % 2 else _PLACEHOLDERS.get(part, "[^:/ ]+") for n, part in enumerate(parts)]
        return re.fullmatch("".join(texts), key) is not None

    def has(self, bound: str) -> bool:
        """Whether one of its bounds begins so."""
        return any(text.startswith(bound) for text in self.bounds)

    @property
    def most(self) -> int | None:
        """How many entries it has at most; of a string, how many bytes."""
        found = [match[2] for text in self.bounds if (match := _BOUNDS.fullmatch(text)) and match[2]]
        return int(found[0].replace(",", "")) if found else None


def key_rows(text: str = "") -> list[KeyRow]:
    """The rows of the page, one for each pattern. Raises ValueError for a row that states no bound."""
    return [row for line in (text or PAGE.read_text()).splitlines() for row in _rows(line)]


def rows_of(rows: Sequence[KeyRow], key: str) -> list[KeyRow]:
    """The rows of a key; those of fewer placeholders go before others that match too."""
    found = [row for row in rows if row.matches(key)]
    fewest = min((row.pattern.count("<") for row in found), default=0)
    return [row for row in found if row.pattern.count("<") == fewest]


def _rows(line: str) -> Iterator[KeyRow]:
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    patterns = re.findall(r"`([^`]+)`", cells[0])
    if not line.startswith("|") or not patterns:
        return
    bounds = tuple(text.strip() for text in cells[3].split(";"))
    if not any(map(_BOUNDS.fullmatch, bounds)):
        raise ValueError(f"the row of {cells[0]} states no bound: {cells[3]}")
    types = [word.strip() for word in cells[1].split(",")]
    for pattern, kind in zip(patterns, types if len(types) > 1 else types * len(patterns), strict=True):
        yield KeyRow(pattern, kind, bounds)

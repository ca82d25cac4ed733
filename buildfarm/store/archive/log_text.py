"""A log in the registry: a gzip member of lines, each with its place in the build. Nothing here does I/O."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from buildfarm.events import LogLine
from buildfarm.store.archive.member import compressed, unpacked

GROUP_LINES = 500


@dataclass(frozen=True)
class LineGroup:
    """Up to `GROUP_LINES` lines whose positions follow one another and that have all else in common."""

    position: str  # of the first line
    attempt: int
    phase: str
    texts: list[str] = field(default_factory=list)

    def encode(self) -> bytes:
        """As a line of JSON."""
        fields = [self.position, self.attempt, self.phase, self.texts]
        # In ASCII: nothing in a line can then be the end of one, or be no text.
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def decode(cls, content: bytes) -> LineGroup:
        """Reads what `encode` made. Raises ValueError."""
        try:
            position, attempt, phase, texts = json.loads(content)
        except (TypeError, RecursionError) as error:
            raise _unreadable(error) from error
        return cls(position, attempt, phase, texts)

    def lines(self) -> Iterator[LogLine]:
        """Each line with its position. Raises ValueError if the group is not one of lines."""
        try:
            milliseconds, first = _parts(self.position)
            for number, text in enumerate(self.texts, start=first):
                where = f"{milliseconds}-{number}" if number > first else self.position
                yield LogLine(position=where, attempt=self.attempt, phase=self.phase, text=text)
        except (TypeError, AttributeError) as error:
            raise _unreadable(error) from error


def encode_log(lines: Iterable[LogLine]) -> bytes:
    """Lines as one gzip member; nothing of no lines."""
    return encode_grouped(_groups(lines))


def encode_grouped(groups: Iterable[LineGroup]) -> bytes:
    """The same of lines that are in groups already."""
    encoded = (group.encode() for group in groups)
    first = next(encoded, None)
    return b"" if first is None else b"".join(compressed(chain([first], encoded)))


def encode_groups(lines: Iterable[LogLine]) -> Iterator[bytes]:
    """The same without the compression: lines of JSON, each with up to 500 lines of the log."""
    return (group.encode() for group in _groups(lines))


def position_after(group: bytes) -> str:
    """Where to go on reading after a group."""
    found = LineGroup.decode(group)
    milliseconds, first = _parts(found.position)
    return f"{milliseconds}-{first + len(found.texts) - 1}"


def decode_log(content: bytes) -> Iterator[LogLine]:
    """The lines of a log. Raises ValueError if it is damaged, after the lines before."""
    return chain.from_iterable(group.lines() for group in decode_groups(content))


def decode_groups(content: bytes) -> Iterator[LineGroup]:
    """The same in groups, in a quarter of the time."""
    return map(LineGroup.decode, _encoded_groups(content))


def decode_tail(content: bytes, limit: int) -> list[LogLine]:
    """The last lines of a log: all of it is unpacked, and only their groups are decoded. Raises ValueError."""
    groups = deque(_encoded_groups(content), maxlen=limit)  # none is empty
    found: deque[LogLine] = deque()
    while groups and len(found) < limit:
        found.extendleft(reversed([*LineGroup.decode(groups.pop()).lines()]))
    return [*found][-limit:]


def _encoded_groups(content: bytes) -> Iterator[bytes]:
    rest = b""
    for piece in unpacked(content):
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        raise ValueError("it ends in the middle of a line")


def _groups(lines: Iterable[LogLine]) -> Iterator[LineGroup]:
    group, following = LineGroup("", 0, ""), ""
    for line in lines:
        alike = line.position == following and (group.attempt, group.phase) == (line.attempt, line.phase)
        if not alike or len(group.texts) == GROUP_LINES:
            if group.texts:
                yield group
            group = LineGroup(line.position, line.attempt, line.phase)
            milliseconds, number = _parts(line.position)
        group.texts.append(line.text)
        following = f"{milliseconds}-{number + len(group.texts)}"
    if group.texts:
        yield group


def _parts(position: str) -> tuple[str, int]:
    milliseconds, _, number = position.partition("-")
    return milliseconds, int(number or 0)


def _unreadable(error: Exception) -> ValueError:
    return ValueError(f"a line in it cannot be read ({type(error).__name__})")

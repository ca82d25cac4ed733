"""A log in the registry: a gzip member of lines, each with its place in the build. Nothing here does I/O."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from buildfarm.events import LogLine
from buildfarm.store.archive.member import compressed, unpacked

_GROUP_LINES = 500


def encode_log(lines: Iterable[LogLine]) -> bytes:
    """Lines as one gzip member; nothing of no lines."""
    groups = encode_groups(lines)
    first = next(groups, None)
    return b"" if first is None else b"".join(compressed(chain([first], groups)))


def encode_groups(lines: Iterable[LogLine]) -> Iterator[bytes]:
    """The same without the compression: lines of JSON, each with up to 500 lines of the log."""
    return map(_encode_group, _groups(lines))


def position_after(group: bytes) -> str:
    """Where to go on reading after a group."""
    position, _, _, texts = json.loads(group)
    return _moved(position, len(texts) - 1)


def decode_log(content: bytes) -> Iterator[LogLine]:
    """The lines of a log. Raises ValueError if it is damaged, after the lines before."""
    return chain.from_iterable(map(_decode_group, _encoded_groups(content)))


def decode_tail(content: bytes, limit: int) -> list[LogLine]:
    """The last lines of a log: all of it is unpacked, and only their groups are decoded. Raises ValueError."""
    groups = deque(_encoded_groups(content), maxlen=limit)  # none is empty
    found: deque[LogLine] = deque()
    while groups and len(found) < limit:
        found.extendleft(reversed([*_decode_group(groups.pop())]))
    return [*found][-limit:]


def _encoded_groups(content: bytes) -> Iterator[bytes]:
    rest = b""
    for piece in unpacked(content):
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        raise ValueError("it ends in the middle of a line")


def _groups(lines: Iterable[LogLine]) -> Iterator[list[LogLine]]:
    """Lines whose positions follow one another and that have all else in common."""
    group: list[LogLine] = []
    for line in lines:
        if group and (len(group) == _GROUP_LINES or not _follows(group[-1], line)):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _follows(before: LogLine, line: LogLine) -> bool:
    alike = (before.attempt, before.phase) == (line.attempt, line.phase)
    return alike and line.position == _moved(before.position, 1)


def _moved(position: str, by: int) -> str:
    milliseconds, _, number = position.partition("-")
    return f"{milliseconds}-{int(number or 0) + by}"


def _encode_group(group: list[LogLine]) -> bytes:
    first = group[0]
    fields = [first.position, first.attempt, first.phase, [line.text for line in group]]
    # In ASCII: nothing in a line can then be the end of one, or be no text.
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def _decode_group(content: bytes) -> Iterator[LogLine]:
    try:
        position, attempt, phase, texts = json.loads(content)
        for number, text in enumerate(texts):
            where = _moved(position, number) if number else position
            yield LogLine(position=where, attempt=attempt, phase=phase, text=text)
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"a line in it cannot be read ({type(error).__name__})") from error

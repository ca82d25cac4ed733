"""An attempt's whole log in a file of the node, while Redis has a window of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import IO

from buildfarm.model import Phase
from buildfarm.store.archive.log_text import GROUP_LINES, LineGroup

LARGE_BYTES = 64 * 1024  # of text: a smaller log is archived from Redis, where all of it is

Positions = tuple[int, int, str]  # of lines in Redis: the first line's number, how many, and the first's position


@dataclass
class Spool:
    """Takes every line in its order, and learns the positions that Redis gave to those that were sent there.

    A disk that is full or ill costs the log its completeness, never the build: the file is given up.
    """

    path: Path
    expect: Callable[[], None]  # tells the farm that a large log will follow; raises StoreError and LeaseLost
    failed: Callable[[OSError], object] = lambda error: None
    lines: int = 0
    text_bytes: int = 0
    announced: bool = False
    positions: list[Positions] = field(default_factory=list)
    _file: IO[bytes] | None = None
    _given_up: bool = False

    @property
    def is_large(self) -> bool:
        """Whether it is worth a place in the registry."""
        return self.text_bytes > LARGE_BYTES and not self._given_up

    def add(self, phase: Phase, text: str) -> None:
        """The next line."""
        self.lines += 1
        self.text_bytes += len(text) + 1
        if self._given_up:
            return
        try:
            if self._file is None:
                self._file = self.path.open("wb")
            self._file.write(f'["{phase}",{json.dumps(text)}]\n'.encode())
        except OSError as error:
            self._give_up(error)

    def sent(self, first: int, count: int, position: str) -> None:
        """So many lines, from this one on, have consecutive positions in Redis."""
        if count > 0 and position:
            self.positions.append((first, count, position))

    def announce(self) -> None:
        """Tells the farm once, before the attempt ends. Raises what ``expect`` raises."""
        if self.is_large and not self.announced:
            self.expect()
            self.announced = True

    def close(self) -> bool:
        """Whether there is a file to be sent; any other is removed."""
        try:
            if self._file is not None:
                self._file.close()
            wanted = self.announced and not self._given_up
            if not wanted:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            self._give_up(error)
            return False
        return wanted

    def _give_up(self, error: OSError) -> None:
        self._given_up = True
        self.failed(error)
        self.path.unlink(missing_ok=True)


def read_groups(path: Path, attempt: int, positions: Sequence[Positions]) -> Iterator[LineGroup]:
    """The lines of a spool, with the positions that they have in Redis; others follow the line before.

    Raises OSError and ValueError.
    """
    last = "0-0"
    with path.open("rb") as file:
        for count, start in _spans(positions):
            left, position = count, start or moved(last, 1)
            while left > 0 and (entries := _entries(file, min(left, GROUP_LINES))):
                left -= len(entries)
                for phase, run in groupby(entries, itemgetter(0)):
                    texts = [text for _, text in run]
                    yield LineGroup(position, attempt, Phase(phase), texts)
                    position = moved(position, len(texts))
            last = moved(position, -1)


def _spans(positions: Sequence[Positions]) -> Iterator[tuple[int, str]]:
    """How many lines come next, and the first one's position; empty if they follow the line before."""
    number = 0
    for first, count, start in positions:
        if first > number:
            yield first - number, ""
        begin = max(first, number)
        yield first + count - begin, moved(start, begin - first)
        number = max(begin, first + count)
    yield sys.maxsize, ""


def _entries(file: IO[bytes], most: int) -> list[list[str]]:
    """The next lines, as phase and text. Decoding them at once takes a fifth of the time of one after another."""
    found: list[list[str]] = json.loads(b"[" + b",".join(islice(file, most)) + b"]")
    if not all(type(one) is list and [*map(type, one)] == [str, str] for one in found):
        raise ValueError("A line of the spool is not a phase and a text.")
    return found


def moved(position: str, by: int) -> str:
    """The position so many lines after another; empty after an empty one."""
    if not position:
        return ""
    milliseconds, _, number = position.partition("-")
    return f"{milliseconds}-{int(number or 0) + by}"

"""An attempt's whole log in a file of the node, while Redis has a window of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from buildfarm.events import LogLine
from buildfarm.model import Phase

LARGE_BYTES = 64 * 1024  # of text: a smaller log is archived from Redis, where all of it is


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
    positions: list[tuple[int, int, str]] = field(default_factory=list)  # first line, how many, the first's position
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
            self._file.write(json.dumps([phase, text]).encode() + b"\n")
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


def read_lines(path: Path, attempt: int, positions: list[tuple[int, int, str]]) -> Iterator[LogLine]:
    """The lines of a spool, with the positions that they have in Redis; others follow the line before.

    Raises OSError and ValueError.
    """
    known = iter(positions)
    first, count, start = next(known, (-1, 0, ""))
    last = "0-0"
    with path.open("rb") as file:
        for number, content in enumerate(file):
            while first >= 0 and number >= first + count:
                first, count, start = next(known, (-1, 0, ""))
            last = moved(start, number - first) if 0 <= first <= number else moved(last, 1)
            phase, text = json.loads(content)
            yield LogLine(position=last, attempt=attempt, phase=phase, text=text)


def moved(position: str, by: int) -> str:
    """The position so many lines after another; empty after an empty one."""
    if not position:
        return ""
    milliseconds, _, number = position.partition("-")
    return f"{milliseconds}-{int(number or 0) + by}"

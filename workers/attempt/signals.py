"""What a running attempt lends to its steps: where output goes, and the call that ends a step early."""

from __future__ import annotations

from collections.abc import Callable

Log = Callable[[bytes], None]  # takes a piece of output, which can end anywhere in a line
Say = Callable[[str], None]  # takes a sentence
Check = Callable[[], None]  # raises what ends the attempt


def drop(piece: bytes) -> None:
    """The log of steps whose output nobody reads."""


def go_on() -> None:
    """The check of steps that nothing ends early."""

"""What clients may keep open at once in this process: uploads and live streams, counted in all and by token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from buildfarm.api.problems import RefusedError

BUSY = "request.busy"
_AGAIN_SECONDS = 5


class Slots:
    """A bounded number of open things of one kind. Used by the event loop's thread only, so it needs no lock."""

    def __init__(self, kind: str, *, total_max: int, token_max: int, holder: str = "token") -> None:
        self._kind, self._holder = kind, holder
        self._total_max, self._token_max = total_max, token_max
        self._held: Counter[str] = Counter()

    @property
    def used(self) -> int:
        """How many are open now."""
        return self._held.total()

    @contextmanager
    def take(self, token_id: str) -> Iterator[None]:
        """Hold one slot for the length of the block. Raises RefusedError if the holder or this process has none left.

        The holder is a token by its id, or what else counts together.
        """
        self._check(token_id)
        self._held[token_id] += 1
        try:
            yield
        finally:
            self._held[token_id] -= 1
            if not self._held[token_id]:
                del self._held[token_id]

    def _check(self, token_id: str) -> None:
        if self._held[token_id] >= self._token_max:
            raise RefusedError(
                429, BUSY, f"This {self._holder} already has {self._token_max} {self._kind} open, which is its limit.",
                advice="Wait until one of them has ended, then try again.", retry_seconds=_AGAIN_SECONDS,
            )  # fmt: skip
        if self.used >= self._total_max:
            raise RefusedError(
                503, BUSY, f"The API already has {self._total_max} {self._kind} open, which is its limit.",
                advice="Try again after the seconds in Retry-After.", retry_seconds=_AGAIN_SECONDS,
            )  # fmt: skip


@dataclass(frozen=True)
class Turns:
    """Work that is done one at a time, since it can take much memory, and for which few wait."""

    slots: Slots
    threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))

"""How long an ill node takes no builds."""

from __future__ import annotations

from dataclasses import dataclass

_REST_SECONDS = 5.0
_REST_SECONDS_MAX = 60.0


@dataclass
class Rest:
    """A pause that a node takes after it failed a build before any of the customer's code ran, longer each time."""

    _count: int = 0
    _until: float = 0.0

    def begin(self, now: float) -> None:
        """It failed again."""
        self._until = now + min(_REST_SECONDS_MAX, _REST_SECONDS * 2**self._count)
        self._count += 1

    def seconds_left(self, now: float) -> float:
        """How long it still lasts; a node that was well for as long as its longest pause starts over."""
        if now - self._until > _REST_SECONDS_MAX:
            self._count = 0
        return max(0.0, self._until - now)

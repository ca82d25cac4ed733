"""Trying again: which failures are worth it, and how long to wait in between."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import TypeVar

from buildfarm.errors import RegistryError

_T = TypeVar("_T")

_FIRST_WAIT_SECONDS = 0.2
_WAIT_SECONDS_MAX = 10.0
_RETRY_AFTER_SECONDS_MAX = 60.0
_LATE_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 0.25


class UnavailableError(RegistryError):
    """The registry cannot be reached, dropped the connection, or is out of order; the same request may work later."""

    default_advice = "Check that the registry runs and that this node reaches it; the farm tries again by itself."

    def __init__(self, message: str, *, advice: str = "", wait_seconds: float = 0) -> None:
        super().__init__(message, advice=advice)
        self.wait_seconds = wait_seconds  # for so long the same request will fail


def retry_after_seconds(header: str | None) -> float:
    """How long a Retry-After asks to wait, at most a minute; 0 without one (RFC 9110, "Retry-After")."""
    if header is None:
        return 0
    try:
        seconds = float(header) if header.strip().isdigit() else parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0
    return min(max(seconds, 0), _RETRY_AFTER_SECONDS_MAX)


def waits(*, chance: Callable[[], float] = random.random) -> Iterator[float]:
    """Waits without an end, in seconds: each about twice the one before, up to a bound.

    ``chance`` gives numbers from 0 to 1. It takes up to half of each wait away, so that nodes which failed together do
    not come back together.
    """
    for attempt in itertools.count():
        # The exponent is bounded as well: a float overflows at 2**1024.
        whole = min(_WAIT_SECONDS_MAX, _FIRST_WAIT_SECONDS * 2 ** min(attempt, 16))
        yield whole * (1 - chance() / 2)


def retry(
    call: Callable[[], _T], *, attempts: int, pause: Callable[[float], object], patience_seconds: float = 0
) -> _T:
    """Call until it raises no UnavailableError: ``attempts`` times, and on until ``patience_seconds`` are over.

    Waits that the registry asks for take a minute at most, or as long as the patience. ``pause`` waits so many seconds.
    Every other error ends it at once, and the last UnavailableError is the caller's.
    """
    started = time.monotonic()
    until = started + patience_seconds
    asked_until = started + max(patience_seconds, _RETRY_AFTER_SECONDS_MAX)
    for attempt, usual_seconds in enumerate(waits(), start=1):
        try:
            return call()
        except UnavailableError as error:
            wait_seconds = max(usual_seconds, error.wait_seconds)
            then = time.monotonic() + wait_seconds
            if (attempt >= attempts and then > until) or (error.wait_seconds and then > asked_until):
                raise
            pause(wait_seconds)
    raise AssertionError("there is always another wait")


def once_seen(
    call: Callable[[], _T],
    missing: type[RegistryError],
    *,
    pause: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> _T:
    """What ``call`` returns, which reads something that was pushed a moment ago.

    Registries that are spread over several places show it some time later: ``missing`` is raised only after five
    seconds, every other error at once.
    """
    until = clock() + _LATE_SECONDS
    while True:
        try:
            return call()
        except missing:
            if clock() >= until:
                raise
        pause(_LOOK_AGAIN_SECONDS)

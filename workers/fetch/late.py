"""Registries that show what was pushed some time later, as those do that are spread over several places."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from buildfarm.oci.connection import NotInRegistryError

_T = TypeVar("_T")

LATE_SECONDS = 5.0
_WAIT_SECONDS = 0.25


def once_seen(
    call: Callable[[], _T],
    *,
    pause: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> _T:
    """What ``call`` returns, which reads something that was pushed a moment ago.

    Raises NotInRegistryError if it is not there after five seconds; every other error at once.
    """
    until = clock() + LATE_SECONDS
    while True:
        try:
            return call()
        except NotInRegistryError:
            if clock() >= until:
                raise
        pause(_WAIT_SECONDS)

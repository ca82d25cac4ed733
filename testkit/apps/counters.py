"""Counters that a program writes some time after what they count."""

from __future__ import annotations

import time
from collections.abc import Callable

# The cache of packages has its requests' log written once a second, and then its counters once a second; a busy machine
# does both late.
BEHIND_SECONDS = 5.0
_PACE_SECONDS = 0.25
_now, _pause = time.monotonic, time.sleep


def settled(read: Callable[[], int]) -> int:
    """What ``read`` gives once it has stayed the same for ``BEHIND_SECONDS``."""
    found, since = read(), _now()
    while _now() - since < BEHIND_SECONDS:
        _pause(_PACE_SECONDS)
        if (again := read()) != found:
            found, since = again, _now()
    return found

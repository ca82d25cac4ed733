"""Claiming a build: through an outage of Redis, and not before the node with its app's cache could take it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

from buildfarm.errors import StoreError
from buildfarm.store import Lease, Leases, Unclaimed

_FIRST_PAUSE_SECONDS = 0.004  # a node that has room takes an offer in less


def claim(
    leases: Leases,
    build_id: str,
    node: str,
    patience_seconds: float,
    offer_seconds: float = 0,
    *,
    bases: str = "",
    size: str = "",
) -> Lease | Unclaimed:
    """Claims, or lets the node that built the app last do it, for so long. Raises StoreError."""
    found = _claim(leases, build_id, node, patience_seconds, offer=offer_seconds > 0, bases=bases, size=size)
    if isinstance(found, Lease) or not found.offered:
        return found
    _wait_until_taken(leases, found.offered, offer_seconds)
    return _claim(leases, found.offered, node, patience_seconds, offer=False, bases=bases, size=size)


def pauses(seconds: float) -> Iterator[float]:
    """Each twice as long as the one before, and together so many seconds."""
    pause = _FIRST_PAUSE_SECONDS
    while seconds > 0:
        yield min(pause, seconds)
        seconds -= pause
        pause *= 2


def _claim(
    leases: Leases, build_id: str, node: str, patience_seconds: float, *, offer: bool, bases: str, size: str
) -> Lease | Unclaimed:
    """Repeats the same claim while Redis is unreachable: it may have arrived."""
    token = secrets.token_hex(16)
    until = time.monotonic() + patience_seconds
    while True:
        try:
            return leases.claim(build_id, node, token, offer=offer, bases=bases, size=size)
        except StoreError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def _wait_until_taken(leases: Leases, build_id: str, seconds: float) -> None:
    try:
        for pause in pauses(seconds):
            time.sleep(pause)
            if not leases.waits(build_id):
                return
    except StoreError:
        return  # the claim that follows has patience

"""Connections behind Sentinel that follow the master within one call.

redis-py (8.1) repeats a call on the connection that broke, and reopens it at the address it had; only a connection that
is taken from the pool asks the Sentinels. With the old master's host gone, calls hung for 39 s, and leases ended.
"""

from __future__ import annotations

from typing import Any

from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection


class MasterConnection(SentinelManagedConnection):
    """Asks the Sentinels each time before it connects."""

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Sends it, to whichever Redis is the master now if the connection is not open."""
        if not self._sock:
            self.connect()  # type: ignore[no-untyped-call]
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]


class MasterTlsConnection(SentinelManagedSSLConnection):
    """The same over TLS."""

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Sends it, to whichever Redis is the master now if the connection is not open."""
        if not self._sock:
            self.connect()  # type: ignore[no-untyped-call]
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

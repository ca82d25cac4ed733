"""Calls to the nodes: a build has something new for the node that runs it. They save time; nothing depends on them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis

from buildfarm.store.database import Database

CHANNEL = "calls"

_WAIT_SECONDS = 1.0


class Wakeups:
    """The calls that one node receives. The next renewal of the build's lease makes up for a lost call."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pubsub: Any = None

    def wait(self, called: Callable[[str], None]) -> None:
        """Waits a second for calls, and hands on the build's id of each. Raises StoreError."""
        try:
            with self._database.failures():
                if self._pubsub is None:
                    self._pubsub = self._database.client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
                    self._pubsub.subscribe(self._database.key(CHANNEL))
                message = self._pubsub.get_message(timeout=_WAIT_SECONDS)
        except BaseException:
            self.close()
            raise
        if message is not None:
            called(str(message["data"]))

    def close(self) -> None:
        """Gives the connection back."""
        if self._pubsub is not None:
            with suppress(redis.RedisError):
                self._pubsub.close()
        self._pubsub = None

"""Blocking pops: a node without work waits long in one, and not longer than it is needed."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import redis

# How long one blocking pop waits. Redis looks at each of its queues when it begins and when it ends: an idle node costs
# their number over this. A host that loses its power leaves a pop behind, which takes a message within this time and
# loses it. The builds that the host had are sent again no sooner than a lease without a renewal after that (4 s), when
# the pop is over.
WAIT_SECONDS = 3
_SHORTEST = 0.8  # of that: nodes that have all connected at once after an outage do not go on asking at once


class EndableWaits:
    """A part of kombu's channel of Redis: a pop ends as soon as the channel closes or has lost its last consumer.

    kombu 5.7 itself waits for it when it closes, and lets a node that pauses take one more message.
    """

    client: Any
    active_queues: Any
    conn_or_acquire: Any
    _in_poll: Any
    _queue_cycle: Any
    _client_id = 0  # Redis's name of the connection that waits
    _named: Any = None  # its socket

    def _brpop_start(self, timeout: float | None = None) -> None:
        connection = self.client.connection
        if connection._sock is not self._named:
            self._named, self._client_id = connection._sock, 0
            connection.send_command("CLIENT", "ID", check_health=False)
            with suppress(redis.ResponseError):  # a user of Redis without the right to ask
                self._client_id = int(connection.read_response())
        wait = round(random.uniform(_SHORTEST, 1) * WAIT_SECONDS, 2)
        super()._brpop_start(wait if timeout is None else timeout)  # type: ignore[misc]

    def _basic_cancel(self, consumer_tag: str) -> Any:
        try:
            return super()._basic_cancel(consumer_tag)  # type: ignore[misc]
        finally:
            if not self.active_queues:
                self._end_wait()

    def renew_wait(self) -> None:
        """Ends a pop whose queues are not all those that it should ask; the next one begins at once."""
        if self._queue_cycle.is_outdated():
            self._end_wait()

    def close(self) -> None:
        """As kombu's, which reads the answer of a pop that waits."""
        self._end_wait()
        super().close()  # type: ignore[misc]

    def _end_wait(self) -> None:
        """Without the right to end it, it ends by itself."""
        if not self._in_poll or not self._client_id or self.client.connection._sock is not self._named:
            return
        # Asked once for each pop: a Redis that is silent would be waited for each time.
        client_id, self._client_id, self._named = self._client_id, 0, None
        with suppress(redis.RedisError), self.conn_or_acquire() as client:
            client.client_unblock(client_id)

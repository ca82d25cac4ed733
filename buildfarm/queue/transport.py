"""Messages as they come from Redis: one that is not whole ends here, and not the node that took it.

A client that can write to Redis can push anything into a queue. kombu 5.7 ends the whole worker on the first one that
is not a message; one that it cannot decode it also keeps, and hands it to the next node.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from queue import Empty
from typing import Any
from urllib.parse import urlsplit

import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual

from buildfarm.queue.messages import MalformedMessageError, check_message
from buildfarm.queue.names import is_node_queue
from buildfarm.queue.waits import WAIT_SECONDS, EndableWaits
from buildfarm.telemetry import logger

# As kombu.transport.redis.QoS.append does it, but also when Redis is out of memory: what this adds goes with its build.
_KEEP = """#!lua flags=allow-oom
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
"""


def transport_for(url: str) -> type[kombu_redis.Transport]:
    """kombu's transport for this URL, which drops what `check_message` refuses, with a logged reason."""
    base = kombu_redis.SentinelTransport if urlsplit(url).scheme == "sentinel" else kombu_redis.Transport

    class QoS(kombu_redis.QoS):
        def append(self, message: Any, delivery_tag: str) -> None:
            channel: Any = self.channel
            delivery, prefix = message.delivery_info, channel.global_keyprefix
            kept = json.dumps([message._raw, delivery["exchange"], delivery["routing_key"]])
            with channel.conn_or_acquire() as client:
                keys = (prefix + self.unacked_index_key, prefix + self.unacked_key)
                client.eval(_KEEP, len(keys), *keys, time.time(), delivery_tag, kept)
            virtual.QoS.append(self, message, delivery_tag)

    class Channel(EndableWaits, base.Channel):  # type: ignore[misc, name-defined]
        def _queue_bind(self, *names: Any) -> None:
            if is_node_queue(names[-1]):
                return  # no exchange leads there, and bindings of nodes that are gone would stay for ever
            # A worker that connects to a Redis without memory finds the bindings of those before it.
            with suppress(redis.OutOfMemoryError):
                super()._queue_bind(*names)

        def _brpop_read(self, **options: Any) -> Any:
            try:
                return super()._brpop_read(**options)
            except ValueError as error:  # also of json.loads, which comes before `_deliver`
                reason = str(error) if isinstance(error, MalformedMessageError) else "it is not JSON"
                logger().warning("message_dropped", reason=reason)
                # For the poller this is a queue that had nothing: it asks again.
                raise Empty from error

    class Transport(base):  # type: ignore[misc, valid-type]
        brpop_timeout = WAIT_SECONDS

        def _deliver(self, message: object, queue: str) -> None:
            check_message(message)
            try:
                super()._deliver(message, queue)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                self._forget(message)
                raise MalformedMessageError(f"Celery cannot take it ({error!r})") from error

        def _forget(self, message: Any) -> None:
            """Kept as not acknowledged, it would hold a slot of this node, and come back to another."""
            for channel in self.channels:
                channel.basic_reject(message["properties"]["delivery_tag"], requeue=False)

    Channel.QoS = QoS
    Transport.Channel = Channel
    return Transport

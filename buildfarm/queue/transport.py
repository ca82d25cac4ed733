"""Messages as they come from Redis: one that is not whole ends here, and not the node that took it.

Anybody who can write to Redis can push anything into a queue. kombu 5.7 ends the whole worker on the first one that
is no message; one that it cannot decode it keeps besides, and hands it to the next node.
"""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from queue import Empty
from typing import Any
from urllib.parse import urlsplit

import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual

from buildfarm.telemetry import logger

# As kombu.transport.redis.QoS.append does it, but also when Redis is out of memory: what this adds goes with its build.
_KEEP = """#!lua flags=allow-oom
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
"""


class MalformedMessageError(ValueError):
    """The message is not one of Celery's protocol 2, as this farm's callers send it."""


def check_message(message: object) -> None:
    """Raises MalformedMessageError unless this, from a queue, is something that Celery can accept or refuse by itself.

    That is kombu's envelope (kombu/transport/virtual/base.py, ``Channel.prepare_message``) around a body of Celery's
    message protocol, version 2 (docs.celeryq.dev, "Message Protocol").
    """
    if not isinstance(message, dict):
        raise MalformedMessageError("it is no JSON object")
    headers, properties = _mapping(message, "headers"), _mapping(message, "properties")
    delivery = _mapping(properties, "delivery_info")
    for where, name in ((delivery, "exchange"), (delivery, "routing_key"), (properties, "delivery_tag")):
        if not isinstance(where.get(name), str):
            raise MalformedMessageError(f"its {name} is no string")
    for name in ("task", "id"):
        if not isinstance(headers.get(name), str):
            raise MalformedMessageError(f"its header {name} is no string")
    # Celery counts a slot as taken before it finds out by itself, and never gives it back.
    if headers.get("timelimit") not in (None, [None, None]):
        raise MalformedMessageError("this farm's own limits hold: it takes no header timelimit")
    if message.get("content-type") != "application/json" or message.get("content-encoding") != "utf-8":
        raise MalformedMessageError("its body is not JSON in UTF-8")
    if properties.get("body_encoding") not in (None, "base64"):
        raise MalformedMessageError("its body is neither plain nor in base64")
    _check_body(message.get("body"), is_plain=properties.get("body_encoding") is None)


def message_template(task: str) -> str:
    """A message for a task with a build's id, which `check_message` lets pass once its three blanks are filled in.

    The scripts of the store push it into a queue themselves, in the same step that writes the build's record.
    """
    message = {
        "body": json.dumps([["@id@"], {}, {}]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": task, "id": "@id@", "root_id": "@id@", "retries": 0},
        "properties": {
            "delivery_tag": "@tag@",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "@queue@"},
            "priority": 0,
        },
    }
    return json.dumps(message)


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

    class Channel(base.Channel):  # type: ignore[misc, name-defined]
        def _queue_bind(self, *names: Any) -> None:
            # A worker that connects to a Redis without memory finds the bindings of those before it.
            with suppress(redis.OutOfMemoryError):
                super()._queue_bind(*names)

        def _brpop_read(self, **options: Any) -> Any:
            try:
                return super()._brpop_read(**options)
            except ValueError as error:  # also of json.loads, which comes before `_deliver`
                reason = str(error) if isinstance(error, MalformedMessageError) else "it is no JSON"
                logger().warning("message_dropped", reason=reason)
                # For the poller this is a queue that had nothing: it asks again.
                raise Empty from error

    class Transport(base):  # type: ignore[misc, valid-type]
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


def _mapping(where: dict[str, Any], name: str) -> dict[str, Any]:
    found = where.get(name)
    if not isinstance(found, dict):
        raise MalformedMessageError(f"it has no {name}")
    return found


def _check_body(encoded: object, *, is_plain: bool) -> None:
    if not isinstance(encoded, str):
        raise MalformedMessageError("it has no body")
    try:
        body = json.loads(encoded if is_plain else base64.b64decode(encoded.encode(), validate=True))
    except (ValueError, RecursionError) as error:
        raise MalformedMessageError("its body cannot be decoded") from error
    kinds = (list, dict, dict)
    if not isinstance(body, list) or len(body) != len(kinds):
        raise MalformedMessageError("its body is not [args, kwargs, options]")
    if not all(isinstance(part, kind) for part, kind in zip(body, kinds, strict=True)):
        raise MalformedMessageError("its body is not [args, kwargs, options]")

"""Messages on the wire: the template that scripts fill in, and the check of what comes out of a queue."""

from __future__ import annotations

import base64
import json
from typing import Any


class MalformedMessageError(ValueError):
    """The message is not one of Celery's protocol 2, as this farm's callers send it."""


def check_message(message: object) -> None:
    """Raises MalformedMessageError unless this, from a queue, is something that Celery can accept or refuse by itself.

    That is kombu's envelope (kombu/transport/virtual/base.py, ``Channel.prepare_message``) around a body of Celery's
    message protocol, version 2 (docs.celeryq.dev, "Message Protocol").
    """
    if not isinstance(message, dict):
        raise MalformedMessageError("it is not a JSON object")
    headers, properties = _mapping(message, "headers"), _mapping(message, "properties")
    delivery = _mapping(properties, "delivery_info")
    for where, name in ((delivery, "exchange"), (delivery, "routing_key"), (properties, "delivery_tag")):
        if not isinstance(where.get(name), str):
            raise MalformedMessageError(f"its {name} is not a string")
    for name in ("task", "id"):
        if not isinstance(headers.get(name), str):
            raise MalformedMessageError(f"its header {name} is not a string")
    # Celery counts a slot as taken before it finds out by itself, and never gives it back.
    if headers.get("timelimit") not in (None, [None, None]):
        raise MalformedMessageError("the farm's own limits apply: the header timelimit is not supported")
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

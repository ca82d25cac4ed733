"""Requests that come as messages of Celery's own protocol: the entry for callers in any language (docs/queue.md)."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

from celery import Celery
from celery.exceptions import Reject
from pydantic import TypeAdapter, ValidationError

from buildfarm.errors import BuildfarmError, FarmError, StoreFullError
from buildfarm.farm import Farm
from buildfarm.model import BuildRequest, Request
from buildfarm.queue.names import SUBMIT_TASK
from buildfarm.telemetry import logger

_REQUEST: TypeAdapter[Request] = TypeAdapter(Request)
_REASON_LENGTH_MAX = 300


def register(app: Celery, farm: Farm) -> None:
    """Makes `submit` a task of this node: its one argument is a build request, and its task id names the build."""

    @app.task(name=SUBMIT_TASK, ignore_result=True, typing=False, bind=True)
    def submit(task: Any, /, *args: object, **kwargs: object) -> None:
        try:
            take(farm, str(task.request.id), *args, **kwargs)
        except FarmError as error:
            raise Reject(error.message, requeue=True) from error


def take(farm: Farm, task_id: str, *args: object, **kwargs: object) -> None:
    """Submits what a message asks for; a message that comes twice makes one build.

    A refused request is logged and published as an event. Raises FarmError if Redis is unreachable: the message stays.
    In a Redis that is nearly full it is refused, for it would come back at once.
    """
    log = logger(message=task_id[:80])
    try:
        build_id = uuid.UUID(task_id).hex
    except ValueError:
        log.warning("message_dropped", reason="its id is not a UUID")
        return
    try:
        content = kwargs.get("request", args[0] if args else None)
        build = farm.submit(_REQUEST.validate_python(content), build_id=build_id)
    except (ValidationError, BuildfarmError) as error:
        if isinstance(error, FarmError) and not isinstance(error, StoreFullError):
            raise
        reason = _reason(error)[:_REASON_LENGTH_MAX]
        log.warning("request_refused", build=build_id, reason=reason)
        with suppress(StoreFullError):
            farm.events.refused(build_id, reason)
    else:
        log.info("request_accepted", build=build.id, tenant=build.request.tenant)


def _reason(error: ValidationError | BuildfarmError) -> str:
    """One sentence; never the values, which may be secret."""
    if isinstance(error, BuildfarmError):
        return error.message
    errors = [found for found in error.errors() if found["loc"][:1] == (BuildRequest.__name__,)] or error.errors()
    place = ".".join(str(part) for part in errors[0]["loc"][1:]) or "request"
    return f"{place}: {errors[0]['msg']}"

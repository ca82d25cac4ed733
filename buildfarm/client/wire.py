"""What both clients have in common: requests as values, answers as the farm's own nouns and errors. No I/O."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter

from buildfarm.errors import (
    BUILD_ERRORS,
    ApiError,
    BuildfarmError,
    ConflictError,
    NotFoundError,
    QueueFullError,
    RequestError,
    TooLateError,
)
from buildfarm.events import LogLine
from buildfarm.model import Build, BuildRequest, Request, State
from buildfarm.queue.view import QueuePosition

T = TypeVar("T")

TRIES = 4
UPLOAD_TRIES = 8
PAUSE_SECONDS = 0.5
SILENCE_SECONDS = 40.0  # of a live stream; the API sends something every 15 s
_OURS = ("image", "queue_position")  # members of a build that the API adds


@dataclass(frozen=True)
class Call:
    """One request."""

    method: str
    path: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def again(self) -> bool:
        """Whether it may be sent twice: the same key, the same build."""
        return self.method in ("GET", "PUT") or "Idempotency-Key" in self.headers


@dataclass(frozen=True)
class Seen:
    """A build, and what the API says beside it."""

    build: Build
    image: str | None
    queue_position: QueuePosition | None


def decode(answer: httpx.Response, kind: type[T]) -> T:
    """The answer as this type, without what only newer versions of the API say."""
    return TypeAdapter(kind).validate_json(answer.content, extra="ignore")


def seen(values: dict[str, Any]) -> Seen:
    """A build as the API gives it."""
    own = {name: values.pop(name, None) for name in _OURS}
    queue_position = (
        QueuePosition.model_validate(own["queue_position"], extra="ignore") if own["queue_position"] else None
    )
    return Seen(Build.model_validate(values, extra="ignore"), own["image"], queue_position)


def submission(request: Request, key: str | None) -> Call:
    """The call that submits. Raises RequestError where the API does not take such builds."""
    if not isinstance(request, BuildRequest):
        raise RequestError(
            "The API takes builds of apps only.", advice="Build images from inside: BUILDFARM_REDIS_URL."
        )
    body = request.model_dump(mode="json", exclude={"idempotency_key"}, exclude_defaults=True)
    body["source"] = request.source.model_dump(mode="json")
    chosen = request.idempotency_key or key or secrets.token_hex(16)
    return Call("POST", "/v1/builds", body=body, headers={"Idempotency-Key": chosen})


def check(answer: httpx.Response) -> httpx.Response:
    """The answer, if it is a good one; else raises what the farm itself would have raised."""
    if answer.is_success:
        return answer
    try:
        problem = answer.json()
        code, detail, advice = problem["code"], problem["detail"], problem.get("advice", "")
    except (ValueError, KeyError, TypeError):
        host = answer.request.url.host
        raise ApiError(f"{host} answers {answer.status_code} and no problem: it is not the farm's API.") from None
    raise error_of(answer, code, detail, advice)


def has_ended(answer: httpx.Response) -> bool:
    """Whether a cancel came after the build's end."""
    return answer.status_code == 409 and answer.json().get("code") == "request.ended"


def error_of(answer: httpx.Response, code: str, detail: str, advice: str) -> BuildfarmError:
    """A problem as the error it came from."""
    wait = answer.headers.get("Retry-After", "")
    if answer.status_code == 429:
        return QueueFullError(detail, advice=advice, retry_after_seconds=float(wait) if wait.isdigit() else 60)
    if code in BUILD_ERRORS:
        return BUILD_ERRORS[code](detail, advice=advice)
    for kind in (NotFoundError, ConflictError, TooLateError):
        if code == kind.code:
            return kind(detail, advice=advice)
    return RequestError(detail, advice=advice) if answer.status_code < 500 else ApiError(detail, advice=advice)


def busy_seconds(answer: httpx.Response) -> float:
    """Seconds after which an upload that found no free slot can be sent again; 0 if it was answered otherwise."""
    if answer.status_code not in (429, 503) or b'"request.busy"' not in answer.content:
        return 0
    wait = answer.headers.get("Retry-After", "")
    return float(wait) if wait.isdigit() else PAUSE_SECONDS


def unreachable(url: str, error: Exception) -> ApiError:
    """No answer came."""
    return ApiError(
        f"The API at {url} cannot be reached ({type(error).__name__}).",
        advice="Check the address (--url, BUILDFARM_URL), and that `buildfarm api` runs there.",
    )


class EventParser:
    """Server-sent events out of bytes as they come (WHATWG HTML, section 9.2.6); remembers where to go on."""

    def __init__(self, last: str = "") -> None:
        self.last = last
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, piece: bytes) -> Iterator[tuple[str, Any]]:
        """Name and data of every event that is complete now."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            name, _, value = line.decode().partition(":")
            if line and name:
                self._fields[name] = value.removeprefix(" ")
            elif not line:
                fields, self._fields = self._fields, {}
                self.last = fields.get("id", self.last)
                if "data" in fields:
                    yield fields.get("event", "message"), json.loads(fields["data"])

    def cut(self) -> None:
        """The connection ended: what was not complete comes again."""
        self._rest, self._fields = b"", {}


def line_of(data: Any) -> LogLine:
    """An event of the log."""
    return LogLine.model_validate(data, extra="ignore")


def is_final(data: Any) -> bool:
    """Whether the state in an event is final."""
    return State(data["state"]).final

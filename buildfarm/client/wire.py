"""What both clients read: answers as the farm's own nouns and errors, and live logs out of bytes. No I/O."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter

from buildfarm.errors import (
    BUILD_ERRORS,
    ApiError,
    BuildfarmError,
    ConflictError,
    NotFoundError,
    NotReadYetError,
    NotServedError,
    QueueFullError,
    RegistryFullError,
    RequestError,
    StorageLimitError,
    TooLateError,
)
from buildfarm.events import LogLine
from buildfarm.model import Build, State
from buildfarm.queue.view import QueuePosition

T = TypeVar("T")

TRIES = 4
PAUSE_SECONDS = 0.5
SILENCE_SECONDS = 40.0  # of a live stream; the API sends something every 15 s
_CLOCKS_AGREE_SECONDS = 2.0  # `Date` has whole seconds, and the answer took a while
_OURS = ("image", "queue_position")  # members of a build that the API adds
_REFUSALS = (
    NotFoundError, ConflictError, NotReadYetError, NotServedError, RegistryFullError, StorageLimitError, TooLateError,
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """A build, and what the API says beside it."""

    build: Build
    image: str | None
    queue_position: QueuePosition | None


def decoded(kind: type[T]) -> Callable[[httpx.Response], T]:
    """Read an answer as this type, without what only newer versions of the API say."""
    return lambda answer: TypeAdapter(kind).validate_json(answer.content, extra="ignore")


def seen(values: dict[str, Any]) -> Seen:
    """A build as the API gives it."""
    own = {name: values.pop(name, None) for name in _OURS}
    queue_position = (
        QueuePosition.model_validate(own["queue_position"], extra="ignore") if own["queue_position"] else None
    )
    # The API hides the values of config vars; a build that `Farm` reads has empty ones.
    if env := values["request"].get("env"):
        values["request"]["env"] = dict.fromkeys(env, "")
    return Seen(Build.model_validate(values, extra="ignore"), own["image"], queue_position)


def clock_ahead(answer: httpx.Response, now: float) -> float:
    """By how many seconds the clock of the answer's `Date` is ahead of ``now``; 0 if both agree as far as it tells."""
    try:
        ahead = parsedate_to_datetime(answer.headers["date"]).timestamp() + 0.5 - now
    except (KeyError, ValueError):
        return 0.0
    return ahead if abs(ahead) > _CLOCKS_AGREE_SECONDS else 0.0


def check(answer: httpx.Response) -> httpx.Response:
    """The answer, if it is a good one; else raises what the farm itself would have raised."""
    if answer.is_success:
        return answer
    try:
        problem = answer.json()
        code, detail, advice = problem["code"], problem["detail"], problem.get("advice", "")
    except (ValueError, KeyError, TypeError):
        raise _not_the_api(answer) from None
    raise error_of(answer, code, detail, advice)


def _not_the_api(answer: httpx.Response) -> BuildfarmError:
    """What else answered: a proxy before the API, or another server."""
    host, status = answer.request.url.host, answer.status_code
    if status == 413:
        return RequestError(
            f"The proxy at {host} does not pass on as much as was sent.",
            advice="The farm's operator can raise its limit; in nginx: client_max_body_size 0;",
        )
    if status in (502, 504):
        return ApiError(f"The proxy at {host} answers {status}: it does not reach the farm's API.")
    return ApiError(f"{host} answers {status} without problem details: it is not the farm's API.")


def error_of(answer: httpx.Response, code: str, detail: str, advice: str) -> BuildfarmError:
    """A problem as the error it came from."""
    wait = answer.headers.get("Retry-After", "")
    if answer.status_code == 429:
        return QueueFullError(detail, advice=advice, retry_after_seconds=float(wait) if wait.isdigit() else 60)
    if code in BUILD_ERRORS:
        return BUILD_ERRORS[code](detail, advice=advice)
    for kind in _REFUSALS:
        if code == kind.code:
            error = kind(detail, advice=advice)
            if isinstance(error, NotReadYetError) and wait.isdigit():
                error.retry_after_seconds = float(wait)
            return error
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


class LiveLog:
    """A live log over any number of connections: where to go on, failures in a row, and when to give up."""

    def __init__(self, url: str, build_id: str, after: str, deadline: float | None, *, now: bool = False) -> None:
        self._ended = False
        self._url, self._build_id, self._after, self._deadline = url, build_id, after, deadline
        self._now = now
        self._events = EventParser()
        self._failures = 0

    def has_ended(self) -> bool:
        """Whether no more will come: the build has ended, or the deadline has passed."""
        return self._ended

    @property
    def path(self) -> str:
        """Where it is."""
        return f"/v1/builds/{self._build_id}/log/live"

    @property
    def options(self) -> dict[str, Any]:
        """What httpx is given for the next connection."""
        left = SILENCE_SECONDS if self._deadline is None else max(0.05, self._deadline - time.monotonic())
        return {
            "params": {"after": self._after, **({"now": "true"} if self._now else {})},
            "headers": {"Last-Event-ID": self._events.last} if self._events.last else {},
            "timeout": httpx.Timeout(30, read=min(left, SILENCE_SECONDS)),
        }

    def feed(self, piece: bytes) -> Iterator[tuple[str, Any]]:
        """Name and data of every event that is complete now; `has_ended` reports whether more will come."""
        self._failures = 0
        for name, data in self._events.feed(piece):
            if name == "end":
                self._ended = True
                return
            yield name, data
        self._expire()

    def cut(self, error: httpx.TransportError | None) -> float:
        """The connection ended: returns seconds to wait before the next. Raises ApiError after too many failures."""
        self._expire()
        if error is not None and not self._ended:
            self._failures += 1
            if self._failures == TRIES:
                raise unreachable(self._url, error) from error
        self._events.cut()
        return 0 if self._ended else PAUSE_SECONDS

    def _expire(self) -> None:
        self._ended = self._ended or (self._deadline is not None and time.monotonic() > self._deadline)


class LineParser:
    """Lines of a log out of bytes as they come; unlike httpx, it does not split at U+2028, which a build may print."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[LogLine]:
        """The lines that are complete now."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return [LogLine.model_validate_json(line, extra="ignore") for line in lines]


def line_of(data: Any) -> LogLine:
    """An event of the log."""
    return LogLine.model_validate(data, extra="ignore")


def is_final(data: Any) -> bool:
    """Whether the state in an event is final."""
    return State(data["state"]).final

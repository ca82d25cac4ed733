"""The outermost layer of the API: sizes are bound, every request has an id, a log line and a metric."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from buildfarm.api.metrics import ApiMetrics
from buildfarm.api.problems import answer
from buildfarm.telemetry import logger

JSON_BYTES_MAX = 64 * 1024
JSON_DEPTH_MAX = 20
_BODY_SECONDS = 30
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
# Paths whose body is streamed, and bound by the route itself.
_STREAMED = ("/v1/sources", "/v1/hooks/", "/submit", "/git/")

# The page runs its own scripts and styles and nothing else; no other page may frame it.
_HEADERS = {
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"same-origin",
    b"cache-control": b"no-store",
}


class RequestLimits:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value for name, value in scope["headers"] if name in (b"x-request-id", b"content-length")}
        request_id = _request_id(headers.get(b"x-request-id", b""))
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=request_id)
        exchange = _Exchange(send, request_id)
        started = time.monotonic()
        try:
            await self._within_bounds(scope, receive, exchange.send, headers.get(b"content-length", b""))
        except Exception:  # noqa: BLE001 - the edge of every request
            logger().exception("api_bug", path=scope["path"])
            if not exchange.status:
                response = answer(
                    Request(scope), 500, "farm.internal", "A bug in the farm.", advice="Report it to its operators."
                )
                await response(scope, receive, exchange.send)
        finally:
            self._tell(scope, exchange.status, time.monotonic() - started)

    async def _within_bounds(self, scope: Scope, receive: Receive, send: Send, length: bytes) -> None:
        if scope["path"].startswith(_STREAMED) or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(_read(receive, length), _BODY_SECONDS)
        except TimeoutError:
            detail = f"The body of this request did not arrive within {_BODY_SECONDS} s."
            await answer(Request(scope), 408, "request.slow", detail)(scope, receive, send)
            return
        if body is None:
            detail = f"The body of this request is limited to {JSON_BYTES_MAX:,} bytes."
            await answer(Request(scope), 413, "request.too_large", detail)(scope, receive, send)
        elif _depth(body) > JSON_DEPTH_MAX:
            detail = f"The body is nested more than {JSON_DEPTH_MAX} deep."
            await answer(Request(scope), 400, "request.unreadable", detail)(scope, receive, send)
        else:
            await self._app(scope, _replay(body, receive), send)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.request_ended(scope["method"], route, status, seconds)
        state = scope["state"]
        logger().info(
            "request", method=scope["method"], path=scope["path"], status=status, seconds=round(seconds, 4),
            token=state.get("token", ""), address=(scope.get("client") or ("",))[0],
        )  # fmt: skip


class _Exchange:
    """Sends the answer with the headers that every answer has, and remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name.lower() for name, _ in message["headers"]}
            own = [(name, value) for name, value in _HEADERS.items() if name not in given]
            message["headers"] = [*message["headers"], *own, (b"x-request-id", self._request_id.encode())]
        await self._send(message)


def _request_id(given: bytes) -> str:
    text = given.decode("latin-1")
    return text if _REQUEST_ID.fullmatch(text) else secrets.token_hex(8)


async def _read(receive: Receive, length: bytes) -> bytes | None:
    """The whole body; None if it is too large, whatever length was declared."""
    if length.isdigit() and int(length) > JSON_BYTES_MAX:
        return None
    body: bytes = b""
    while True:
        message: Any = await receive()
        body += message.get("body", b"")
        if len(body) > JSON_BYTES_MAX:
            return None
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return body


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _depth(body: bytes) -> int:
    """How deep brackets are nested outside of strings; the parser itself would recurse."""
    depth = deepest = 0
    for byte in _STRINGS.sub(b"", body):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest

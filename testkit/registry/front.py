"""A real registry behind a front that makes it differ from distribution, for engines and nodes too."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from testkit.registry.quirks import Quirks

_READS = frozenset({"GET", "HEAD"})
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_OWN = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "upgrade"}
)  # of one connection: RFC 9110, 7.6.1
_DOCKER = "application/vnd.docker."
_SECONDS = 120


@dataclass(frozen=True)
class FrontQuirks(Quirks):
    """More of what registries do."""

    late_seconds: float = 0.0  # what is pushed is seen so much later
    oci_only: bool = False  # manifests with Docker's media types are refused
    name_chars_max: int = 0  # of a repository


@dataclass
class Front:
    """What came by."""

    quirks: FrontQuirks
    upstream: str  # URL of the registry
    port: int
    storage_port: int
    refused: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    storage_credentials: int = 0  # requests to the storage with credentials: there must be none
    storage_requests: int = 0
    _pushed: dict[str, tuple[float, str]] = field(default_factory=dict)  # path to when, and what was there before

    def answer(self, request: Request) -> Response | None:
        """The answer instead of the registry's; None if the registry answers."""
        if self.quirks.token_requests and (refused := self._without_token(request)):
            return refused
        return self._refusal(request) or self._redirect(request)

    def _refusal(self, request: Request) -> Response | None:
        quirks, path = self.quirks, request.url.path
        resource = f"{request.method} {path.partition('uploads/')[0]}"
        if quirks.busy_status and not self.refused[resource]:
            self.refused[resource] += 1
            return Response(status_code=quirks.busy_status, headers={"Retry-After": "1"})
        if quirks.no_deletes and request.method == "DELETE":
            return _error(405, "UNSUPPORTED")
        name = path.removeprefix("/v2/").partition("/blobs/")[0].partition("/manifests/")[0]
        if quirks.name_chars_max and len(name) > quirks.name_chars_max:
            return _error(400, "NAME_INVALID")
        if quirks.oci_only and request.method == "PUT" and request.headers.get("content-type", "").startswith(_DOCKER):
            return _error(415, "MANIFEST_INVALID")
        return None

    def _redirect(self, request: Request) -> Response | None:
        path = request.url.path
        if not (self.quirks.redirects and request.method in _READS and "/blobs/sha256:" in path):
            return None
        where = f"http://localhost:{self.storage_port}{path}?signature=secret"
        return Response(status_code=307, headers={"Location": where})

    def _without_token(self, request: Request) -> Response | None:
        if request.url.path == "/token":
            name = f"token-{len(self.tokens)}"
            self.tokens[name] = self.quirks.token_requests
            return Response(json.dumps({"token": name, "expires_in": 300}), media_type="application/json")
        name = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.tokens[name] -= 1
        if self.tokens[name] >= 0:
            return None
        challenge = f'Bearer realm="http://127.0.0.1:{self.port}/token",service="front"'
        return Response(status_code=401, headers={"WWW-Authenticate": challenge})

    def pushed(self, path: str, before: str) -> None:
        """From now on for a while, what was there before is there still."""
        if self.quirks.late_seconds:
            self._pushed[path] = (time.monotonic() + self.quirks.late_seconds, before)

    def stale(self, path: str) -> str | None:
        """The path of what is seen instead; empty: nothing. None: what is there."""
        until, before = self._pushed.get(path, (0.0, ""))
        return before if time.monotonic() < until else None


@contextmanager
def quirky_front(upstream: str, quirks: FrontQuirks) -> Iterator[Front]:
    """The registry at this URL, behind a front with these quirks for the length of the block."""
    ends = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    front = Front(quirks, upstream, *(end.getsockname()[1] for end in ends))
    # Each server has its own event loop, and so its own client.
    first, second = (httpx.AsyncClient(base_url=upstream, timeout=_SECONDS, trust_env=False) for _ in range(2))

    async def registry(request: Request) -> Response:
        return front.answer(request) or await _forwarded(front, first, request)

    async def storage(request: Request) -> Response:
        front.storage_requests += 1
        front.storage_credentials += "authorization" in request.headers
        return await _sent(second, request, request.url.path, {})

    with _served(registry, ends[0]), _served(storage, ends[1]):
        yield front


async def _forwarded(front: Front, client: httpx.AsyncClient, request: Request) -> Response:
    path, query = request.url.path, dict(request.query_params)
    if front.quirks.no_mounts:
        query = {name: value for name, value in query.items() if name not in {"mount", "from"}}
    is_read = request.method in _READS
    if is_read and (before := front.stale(path)) is not None:
        if not before:
            return _error(404, "MANIFEST_UNKNOWN" if "/manifests/" in path else "BLOB_UNKNOWN")
        path = before
    before = await _tagged(client, path) if request.method == "PUT" and front.quirks.late_seconds else ""
    answer = await _sent(client, request, path, query)
    if request.method == "PUT" and answer.status_code == 201:
        name = path.partition("/blobs/uploads/")[0]
        front.pushed(path if "/manifests/" in path else f"{name}/blobs/{query['digest']}", before)
    if front.quirks.relative and "location" in answer.headers:
        answer.headers["location"] = "/" + answer.headers["location"].split("/", 3)[3]
    return answer


async def _tagged(client: httpx.AsyncClient, path: str) -> str:
    """The path of what a tag names now; empty if there is none."""
    name, found, reference = path.partition("/manifests/")
    if not found or reference.startswith("sha256:"):
        return ""
    answer = await client.get(path, headers={"Accept": "*/*"})
    digest = "sha256:" + hashlib.sha256(answer.content).hexdigest()
    return f"{name}/manifests/{digest}" if answer.status_code == 200 else ""


async def _sent(client: httpx.AsyncClient, request: Request, path: str, query: dict[str, str]) -> Response:
    headers = [(name, value) for name, value in request.headers.items() if name not in _OWN | {"authorization"}]
    has_body = request.method in {"POST", "PUT", "PATCH"}
    content: Any = request.stream() if has_body else None
    sent = client.build_request(request.method, path, params=query, headers=headers, content=content)
    answer = await client.send(sent, stream=True)

    async def body() -> Any:
        try:
            async for piece in answer.aiter_raw():
                yield piece
        finally:
            await answer.aclose()

    found = StreamingResponse(body(), answer.status_code)
    found.raw_headers = [
        (name.lower(), value) for name, value in answer.headers.raw if name.lower().decode() not in _OWN
    ]
    return found


def _error(status: int, code: str) -> Response:
    return Response(
        json.dumps({"errors": [{"code": code, "message": code.lower()}]}), status, media_type="application/json"
    )


@contextmanager
def _served(endpoint: Any, end: socket.socket) -> Iterator[None]:
    app = Starlette(routes=[Route("/{path:path}", endpoint, methods=_METHODS)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([end],))
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the registry's front does not start")
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join(20)

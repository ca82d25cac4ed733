"""The two requests of a push over HTTP (git, gitprotocol-http): for the refs, of which there are none, and the push."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from tempfile import gettempdir

import anyio
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from buildfarm.api.problems import RefusedError
from buildfarm.api.routes.git_push import commands
from buildfarm.api.routes.git_push.git import check_programs
from buildfarm.api.routes.git_push.pkt_line import FLUSH, NotPktLineError, pkt_line, until_flush
from buildfarm.api.routes.git_push.pusher import pusher, refusal
from buildfarm.api.routes.git_push.receiving import FOLDERS, Pushes, Received
from buildfarm.api.routes.git_push.work import within
from buildfarm.errors import BuildfarmError, RequestError
from buildfarm.settings import Settings

_SERVICE = "git-receive-pack"
_COMMANDS_BYTES, _COMMANDS_MAX = 1024 * 1024, 20_000  # those of a shallow clone count too
_NO_LFS = (
    "git push sends no Git LFS content to the farm, and the build would get pointers. Run `git lfs pull`, and build the"
    " directory with `buildfarm build`. To push the pointers alone: git push --no-verify."
)
# The whole of a push must come at this rate, but it always has the seconds.
_BYTES_PER_SECOND, _SECONDS_MIN = 128 * 1024, 600
# A proxy must neither keep the answer nor hold it back (`X-Accel-Buffering` is of ngx_http_proxy_module).
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def make_router(settings: Settings) -> APIRouter:
    """The routes, with what they share; folders that an earlier process left are removed. Raises SetupError."""
    check_programs()
    for left in Path(gettempdir()).glob(f"{FOLDERS}{settings.api_port}-*"):
        shutil.rmtree(left, ignore_errors=True)
    pushes = Pushes.of(settings)
    router = APIRouter(prefix="/git/{tenant}/{app}", include_in_schema=False)

    @router.get("/info/refs")
    async def refs(tenant: str, app: str, request: Request, service: str = "") -> Response:
        """No refs, and what the farm can do."""
        try:
            caller = await anyio.to_thread.run_sync(pusher, request, tenant, app.removesuffix(".git"))
            with pushes.slots.take(caller.token.id):  # git shows its user why only here
                pass
        except BuildfarmError as error:
            return refusal(error)
        if service != _SERVICE:
            return refusal(RequestError("The farm takes pushes only.", advice="Fetch from where the code is kept."))
        first = f"{commands.NO_OBJECT} capabilities^{{}}\0{commands.CAPABILITIES}\n"
        body = pkt_line(f"# service={_SERVICE}\n".encode()) + FLUSH + pkt_line(first.encode()) + FLUSH
        return Response(body, headers=_HEADERS, media_type=f"application/x-{_SERVICE}-advertisement")

    @router.post(f"/{_SERVICE}")
    async def push(tenant: str, app: str, request: Request) -> Response:
        """Takes the objects, builds the tree, and answers with the log and what became of each ref."""
        name = app.removesuffix(".git")
        try:
            caller = await anyio.to_thread.run_sync(pusher, request, tenant, name)
            async with AsyncExitStack() as stack:
                received = Received(caller, pushes, tenant, name)
                answer = await _received(received, request, stack)
                return _Streamed(answer, stack.pop_all())
        except BuildfarmError as error:
            return refusal(error)
        except ClientDisconnect:
            return refusal(RequestError("The connection ended in the middle of the push."))

    @router.post("/info/lfs/objects/batch")
    async def lfs_objects() -> Response:
        """What the hook of git-lfs asks before a push (Git LFS, api/batch.md); its user reads the message."""
        return Response(json.dumps({"message": _NO_LFS}), 403, media_type="application/vnd.git-lfs+json")

    return router


async def _received(received: Received, request: Request, stack: AsyncExitStack) -> AsyncGenerator[bytes, None]:
    """Reads the body, and returns the answer to it. Raises RequestError, and what `Received.take` does."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RefusedError(415, "request.media_type", "A push must not be compressed once more.")
    services = received.caller.services
    stack.enter_context(services.streams.take(received.caller.token.id))
    seconds = max(_SECONDS_MIN, services.farm.settings.git_push_bytes / _BYTES_PER_SECOND)
    body = within(services.uploads.bounded(request).stream(), seconds)
    try:
        lines, first = await until_flush(body, _COMMANDS_BYTES, _COMMANDS_MAX)
    except NotPktLineError as error:
        raise RequestError(
            f"The push cannot be read: {error}.", advice="Push with git, version 2.0 or newer."
        ) from error
    asked = commands.parse(lines)
    if not asked.updates:  # a client that is about to send much first sends nothing, to learn whether it may
        return _nothing()
    await received.take(asked, first, body, stack)
    return received.answered()


async def _nothing() -> AsyncGenerator[bytes, None]:
    yield b""


class _Streamed(StreamingResponse):
    """An answer that comes as it is made; what it needs goes with its end."""

    def __init__(self, answer: AsyncGenerator[bytes, None], stack: AsyncExitStack) -> None:
        super().__init__(answer, headers=_HEADERS, media_type=f"application/x-{_SERVICE}-result")
        self._answer, self._stack = answer, stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it. A client that leaves ends the answer, and not the build."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True), suppress(OSError):
                await self._answer.aclose()  # first: a thread may still read the files
                await self._stack.aclose()

"""One push: from the client's objects to a source in the registry, a build, and the answer."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import TypeVar

import anyio

from buildfarm.api.bodies import NewBuild
from buildfarm.api.caller import Caller
from buildfarm.api.routes.builds import accept
from buildfarm.api.routes.git_push import following
from buildfarm.api.routes.git_push.answer import Answer
from buildfarm.api.routes.git_push.commands import Asked
from buildfarm.api.routes.git_push.git import Git
from buildfarm.api.routes.git_push.objects import Pack, after
from buildfarm.api.routes.git_push.refs import Decided, decide
from buildfarm.api.routes.git_push.tree import check_out
from buildfarm.api.routes.git_push.work import Work, close, in_thread
from buildfarm.api.slots import Slots
from buildfarm.errors import BuildfarmError, TooLargeError
from buildfarm.model import Build
from buildfarm.settings import Settings
from buildfarm.sources import packing
from buildfarm.sources.address import ArtifactSource
from buildfarm.sources.choice import everything
from buildfarm.telemetry import logger

_T = TypeVar("_T")

FOLDERS = "buildfarm-push-"  # how the names of pushes' folders begin; then the API's port, which one process has

_NAMED_MAX = 10  # refs in one line
_OTHER_FILES_BYTES = 64 * 1024 * 1024  # the index of a pack may be larger than the pack


@dataclass(frozen=True)
class Pushes:
    """What the pushes of this process share."""

    slots: Slots
    threads: anyio.CapacityLimiter
    branches: Sequence[str]

    @classmethod
    def of(cls, settings: Settings) -> Pushes:
        """What the settings allow; no token holds more than half of it."""
        most = settings.git_pushes_max
        slots = Slots("pushes", total_max=most, token_max=max(1, most // 2))
        return cls(slots, anyio.CapacityLimiter(most), settings.git_push_branches.split(","))


@dataclass
class Received:
    """A push to an app. `take` comes first and reads the request; `answered` builds and makes the answer."""

    caller: Caller
    pushes: Pushes
    tenant: str
    app: str
    _answer: Answer = field(default_factory=lambda: Answer(()))
    _decided: Decided = field(default_factory=lambda: Decided(None))
    _pack: Pack | None = None
    _git: Git | None = None
    _room: AsyncExitStack = field(default_factory=AsyncExitStack)  # a slot and a folder, until the source is packed

    async def take(self, asked: Asked, first: bytes, body: AsyncIterator[bytes], stack: AsyncExitStack) -> None:
        """Read the objects; ``stack`` gets what must be closed after the answer.

        Raises RefusedError if there is no slot or the client is too slow, TooLargeError and ClientDisconnect.
        """
        self._answer = Answer(asked.capabilities)
        self._decided = decide(asked.updates, self.pushes.branches)
        if not asked.has_pack:
            return
        settings = self.caller.services.farm.settings
        stack.push_async_callback(close, self._room)
        self._room.enter_context(self.pushes.slots.take(self.caller.token.id))
        if self._decided.built is None:
            await _drain(first, body, settings.git_push_bytes)
            await close(self._room)
            return
        folder = Path(gettempdir(), f"{FOLDERS}{settings.api_port}-{secrets.token_hex(8)}")
        self._room.push_async_callback(anyio.to_thread.run_sync, partial(_remove, folder))
        folder.mkdir(0o700)
        limit_bytes = settings.git_push_bytes
        self._git = Git(folder, max(limit_bytes, settings.source_bytes) + _OTHER_FILES_BYTES)
        self._pack = await self._in_thread(partial(Pack, self._git, asked.shallow, limit_bytes))
        self._room.push_async_callback(anyio.to_thread.run_sync, self._pack.close)
        size = await self._in_thread(partial(self._pack.take, after(first, in_thread(body))))
        logger().info("git_push", tenant=self.tenant, app=self.app, bytes=size, refs=len(asked.updates))

    async def answered(self) -> AsyncGenerator[bytes, None]:
        """The answer: what the farm does, the build's log, and at last what became of each ref."""
        built, answer = self._decided.built, self._answer
        refs = {**dict.fromkeys(self._decided.ignored, ""), **self._decided.refused}
        if built is None:
            yield answer.report(refs)
            return
        build: Build | None = None
        try:
            packing_ = Work(partial(self._source, built.new), self.pushes.threads)
            async with aclosing(packing_.beats(answer.keep_alive())) as beats:
                async for beat in beats:
                    yield beat
            source = packing_.result()
            await close(self._room)  # from here on a client that reads nothing holds up nobody
            build = await anyio.to_thread.run_sync(self._submit, source)
            await anyio.to_thread.run_sync(self._note, build, source)
            if self._decided.ignored:
                yield answer.say(f"Not built and not kept: {_named(self._decided.ignored)}")
            yield answer.say(
                f"Build {build.id} of {self.tenant}/{self.app}, commit {source.commit[:12]}. "
                f"It goes on if you leave: buildfarm logs --follow {build.id}"
            )
            async with aclosing(following.follow(self.caller.services.feeds, build, answer)) as pieces:
                async for piece in pieces:
                    yield piece
            ended = await following.ended(self.caller.services.farm.get, build.id)
            for sentence in self._end(ended):
                yield answer.say(sentence)
            yield answer.report({**refs, built.ref: following.verdict(ended)})
        except Exception as error:  # noqa: BLE001 - the answer has begun: there is no status left that could say so
            await close(self._room)
            if isinstance(error, BuildfarmError):
                yield answer.say(str(error))
            yield answer.report({**refs, built.ref: self._reason(error, build)})

    def _reason(self, error: Exception, build: Build | None) -> str:
        """Why the farm cannot say what became of the push."""
        build_id = build.id if build else getattr(error, "build_id", "")
        if build_id:
            logger().warning("push_lost_build", build=build_id, reason=type(error).__name__, exc_info=error)
            return f"the farm lost sight of build {build_id}, which goes on: buildfarm logs --follow {build_id}"
        if isinstance(error, BuildfarmError):
            return error.message
        logger().error("api_bug", path=f"/git/{self.tenant}/{self.app}", exc_info=error)
        return "a bug in the farm; report it to its operators"

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await anyio.to_thread.run_sync(call, limiter=self.pushes.threads)

    def _source(self, oid: str) -> ArtifactSource:
        """The tree of the pushed commit, in the registry. Raises what its parts do."""
        if self._pack is None or self._git is None:
            raise AssertionError("a branch that is built has come with a pack")
        farm = self.caller.services.farm
        self._pack.finish()
        limit_bytes = farm.settings.source_bytes
        commit, tree = check_out(self._git, oid, limit_bytes)
        check = partial(farm.room.check_upload, self.tenant)
        source, _ = packing.pack(
            farm.registry, tree, self.tenant, limit_bytes, before_sending=check, chooser=everything
        )
        self.caller.note("source.send", source.digest, tenant=self.tenant)
        return source.model_copy(update={"commit": commit})

    def _submit(self, source: ArtifactSource) -> Build:
        tenant = self.tenant if self.caller.tenant is None else None
        return accept(self.caller, NewBuild(app=self.app, source=source, tenant=tenant), None)

    def _note(self, build: Build, source: ArtifactSource) -> None:
        self.caller.note("git.push", f"{self.tenant}/{self.app} {source.commit} {build.id}", tenant=self.tenant)

    def _end(self, build: Build) -> Sequence[str]:
        if build.result is None:
            return [build.failure.advice] if build.failure and build.failure.advice else []
        image = self.caller.services.farm.image(build)
        made = f"Taken from build {build.result_of}, which had the same input" if build.result_of else "Built"
        return [f"{made}: {image}"]


def _named(refs: Sequence[str]) -> str:
    more = f" and {len(refs) - _NAMED_MAX:,} more" if len(refs) > _NAMED_MAX else ""
    return ", ".join(refs[:_NAMED_MAX]) + more


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        logger().warning("push_folder_left", path=str(folder))


async def _drain(first: bytes, body: AsyncIterator[bytes], limit_bytes: int) -> None:
    """Read what is not needed: the client reads no answer before it has sent all. Raises TooLargeError."""
    left_bytes = limit_bytes - len(first)
    async for piece in body:
        left_bytes -= len(piece)
        if left_bytes < 0:
            raise TooLargeError(f"The push has more than {limit_bytes:,} bytes, and names no branch that is built.")

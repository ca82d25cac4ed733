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
from buildfarm.api.routes.git_push.work import Work, in_thread
from buildfarm.api.slots import Slots
from buildfarm.errors import BuildfarmError, TooLargeError
from buildfarm.model import Build
from buildfarm.sources import packing
from buildfarm.sources.address import ArtifactSource
from buildfarm.sources.choice import everything
from buildfarm.telemetry import logger

_T = TypeVar("_T")

FOLDERS = "buildfarm-push-"  # how the names of pushes' folders begin; then the API's port, which one process has

_OTHER_FILES_BYTES = 64 * 1024 * 1024  # the index of a pack may be larger than the pack


@dataclass(frozen=True)
class Pushes:
    """What the pushes of this process share."""

    slots: Slots
    threads: anyio.CapacityLimiter
    branches: Sequence[str]


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
        settings, services = self.caller.services.farm.settings, self.caller.services
        if self._decided.built is None:
            await _drain(first, body, settings.git_push_bytes)
            return
        stack.enter_context(services.streams.take(self.caller.token.id))
        stack.push_async_callback(self._room.aclose)
        self._room.enter_context(self.pushes.slots.take(self.caller.token.id))
        folder = Path(gettempdir(), f"{FOLDERS}{settings.api_port}-{secrets.token_hex(8)}")
        self._room.push_async_callback(anyio.to_thread.run_sync, partial(shutil.rmtree, folder, ignore_errors=True))
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
        if self._decided.ignored:
            yield answer.say(f"Not built and not kept: {', '.join(self._decided.ignored)}")
        refs = {**dict.fromkeys(self._decided.ignored, ""), **self._decided.refused}
        if built is None:
            yield answer.report(refs)
            return
        try:
            packing_ = Work(partial(self._source, built.new), self.pushes.threads)
            async with aclosing(packing_.beats(answer.keep_alive())) as beats:
                async for beat in beats:
                    yield beat
            source = packing_.result()
            await self._room.aclose()
            build = await anyio.to_thread.run_sync(self._submit, source)
            yield answer.say(
                f"Build {build.id} of {self.tenant}/{self.app}, commit {source.commit[:12]}. "
                f"It goes on if you leave: buildfarm logs --follow {build.id}"
            )
            async with aclosing(following.follow(self.caller.services.feeds, build, answer)) as pieces:
                async for piece in pieces:
                    yield piece
            ended = await anyio.to_thread.run_sync(self.caller.services.farm.get, build.id)
            for sentence in self._end(ended):
                yield answer.say(sentence)
            yield answer.report({built.ref: following.verdict(ended), **refs})
        except BuildfarmError as error:
            await self._room.aclose()
            yield answer.say(str(error))
            yield answer.report({built.ref: error.message, **refs})
        except Exception:  # noqa: BLE001 - the answer has begun: there is no status left that could say so
            await self._room.aclose()
            logger().exception("api_bug", path=f"/git/{self.tenant}/{self.app}")
            yield answer.report({built.ref: "a bug in the farm; report it to its operators", **refs})

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
        build = accept(self.caller, NewBuild(app=self.app, source=source, tenant=tenant), None)
        self.caller.note("git.push", f"{self.tenant}/{self.app} {source.commit} {build.id}", tenant=self.tenant)
        return build

    def _end(self, build: Build) -> Sequence[str]:
        if build.result is None:
            return [build.failure.advice] if build.failure and build.failure.advice else []
        image = self.caller.services.farm.image(build)
        made = f"Taken from build {build.result_of}, which had the same input" if build.result_of else "Built"
        return [f"{made}: {image}"]


async def _drain(first: bytes, body: AsyncIterator[bytes], limit_bytes: int) -> None:
    """Read what is not needed: the client reads no answer before it has sent all. Raises TooLargeError."""
    left_bytes = limit_bytes - len(first)
    async for piece in body:
        left_bytes -= len(piece)
        if left_bytes < 0:
            raise TooLargeError(f"The push has more than {limit_bytes:,} bytes, and names no branch that is built.")

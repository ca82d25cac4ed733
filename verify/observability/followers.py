"""Many followers of one build's log at once: what they get, what the API needs for it, and what it costs the builds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from buildfarm.client.wire import EventParser
from buildfarm.model import BuildRequest, Phase
from buildfarm.sources.address import GitSource
from buildfarm.store import Leases, Logs
from testkit.live import Live
from testkit.serving import Api

LINES = 3000
_BATCH = 20
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Crowd:
    """What a crowd of followers saw."""

    complete: int  # followers that got every line once and in order
    rss_bytes: int  # of the API, at most
    seconds: float


def follow_together(live: Live, followers: int) -> Crowd:
    """A log of 3,000 lines grows while all follow it."""
    write = _written_log(live)
    token = live.api.token("crowd", "read")
    most = [0]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            most[0] = max(most[0], live.api.rss_bytes())

    watching = threading.Thread(target=watch)
    watching.start()
    started = time.monotonic()
    try:
        wanted = [f"line {number}" for number in range(LINES)]
        got = asyncio.run(_crowd(live.api, write.build_id, token, followers, write))
    finally:
        ended.set()
        watching.join()
    return Crowd(sum(lines == wanted for lines in got), most[0], time.monotonic() - started)


class _Writer:
    """Writes a build's log as a node does."""

    def __init__(self, live: Live) -> None:
        farm = live.farm
        request = BuildRequest(tenant="crowd", app="log", source=GitSource(url="https://x/y"), run_policy="all")
        self.build_id = farm.submit(request).id
        self._leases = Leases(farm.admission, 600, farm.settings.attempts_max)
        lease = self._leases.claim(self.build_id, "a-writer")
        if not hasattr(lease, "attempt"):
            raise RuntimeError("the build was taken by somebody else")
        self._lease = lease
        self._logs = Logs(farm.database, farm.settings.log_bytes)

    def run(self) -> None:
        """All lines, a batch at a time, then the end."""
        for first in range(0, LINES, _BATCH):
            lines = [f"line {number}" for number in range(first, first + _BATCH)]
            self._logs.append(self._lease, Phase.COMPILE, lines, first + 1)  # type: ignore[arg-type]
            time.sleep(_PAUSE_SECONDS)
        self._leases.cancel(self._lease)  # type: ignore[arg-type]


def _written_log(live: Live) -> _Writer:
    return _Writer(live)


async def _crowd(api: Api, build_id: str, token: str, followers: int, write: _Writer) -> list[list[str]]:
    limits = httpx.Limits(max_connections=followers + 10, max_keepalive_connections=0)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=api.url, headers=headers, limits=limits, timeout=120, trust_env=False
    ) as client:
        ready = asyncio.Semaphore(0)
        following = [asyncio.create_task(_one(client, build_id, ready)) for _ in range(followers)]
        for _ in range(followers):
            await ready.acquire()
        writing = asyncio.create_task(asyncio.to_thread(write.run))
        got = await asyncio.gather(*following)
        await writing
        return list(got)


async def _one(client: httpx.AsyncClient, build_id: str, ready: asyncio.Semaphore) -> list[str]:
    events, lines = EventParser(), []
    async with client.stream("GET", f"/v1/builds/{build_id}/log/live") as answer:
        ready.release()
        async for piece in answer.aiter_raw():
            for name, data in events.feed(piece):
                if name == "line":
                    lines.append(data["text"])
                elif name == "end":
                    return lines
    return lines


@contextmanager
def crowd_on(live: Live, build_id: str, followers: int) -> Iterator[None]:
    """Followers of a build's log for the length of the block, which begins when all of them are connected."""
    token = live.api.token("shop", "read")
    loop = asyncio.new_event_loop()
    stop, connected = asyncio.Event(), threading.Event()

    async def stay() -> None:
        limits = httpx.Limits(max_connections=followers + 10)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(
            base_url=live.api.url, headers=headers, limits=limits, timeout=120, trust_env=False
        ) as client:
            ready = asyncio.Semaphore(0)
            tasks = [asyncio.create_task(_one(client, build_id, ready)) for _ in range(followers)]
            for _ in tasks:
                await ready.acquire()
            connected.set()
            await stop.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(stay()))
    thread.start()
    try:
        if not connected.wait(60):
            raise RuntimeError(f"{followers} followers could not connect")
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()

"""A real nginx before the API, with its defaults: how late lines of a log are, and whether streams survive."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from buildfarm.client.wire import EventParser
from buildfarm.model import BuildRequest, Phase
from buildfarm.sources.address import GitSource
from buildfarm.store import Leases, Logs
from testkit.builds import farm_alone
from testkit.cluster.nginx import nginx, passing_on
from testkit.serving import Api, free_port, serving
from testkit.table import Claims

FOLLOWERS = 50
LATE_SECONDS_MAX = 1.0
IDLE_SECONDS = 75  # longer than nginx waits for an answer to go on: proxy_read_timeout, 60 s
_LINES = 300
_PAUSE_SECONDS = 0.1
_TENANT = "front"


class _Log:
    """A build's log, written as a node writes it: each line says when."""

    def __init__(self, api: Api) -> None:
        farm = api.farm
        request = BuildRequest(tenant=_TENANT, app="log", source=GitSource(url="https://x/y"), run_policy="all")
        self.build_id = farm.submit(request).id
        self._leases = Leases(farm.admission, 600, farm.settings.attempts_max)
        lease = self._leases.claim(self.build_id, "a-writer")
        if not hasattr(lease, "attempt"):
            raise RuntimeError("the build was taken by somebody else")
        self._lease, self._batch = lease, 0
        self._logs = Logs(farm.database, farm.settings.log_bytes)

    def write(self) -> None:
        """One line."""
        self._batch += 1
        self._logs.append(self._lease, Phase.COMPILE, [str(time.time())], self._batch)  # type: ignore[arg-type]

    def end(self) -> None:
        """The build's end."""
        self._leases.cancel(self._lease)  # type: ignore[arg-type]


def tell(claims: Claims) -> None:
    """Lines through nginx, and a stream on which nothing comes."""
    with farm_alone("front") as farm, serving(farm) as api, _front(api) as url:
        token = api.token(_TENANT, "read")
        late = sorted(asyncio.run(_followed(_Log(api), url, token, FOLLOWERS, _write_steadily)))
        most = late[int(len(late) * 0.99)] if late else float("inf")
        figure = f"{len(late):,} lines seen: median {late[len(late) // 2]:.3f} s, p99 {most:.3f} s"
        claims.add(
            f"{FOLLOWERS} followers through nginx get each line within {LATE_SECONDS_MAX:.0f} s", figure,
            len(late) == FOLLOWERS * _LINES and most <= LATE_SECONDS_MAX,
        )  # fmt: skip
        idle = asyncio.run(_followed(_Log(api), url, token, 1, _write_after_a_pause))
        figure = f"{len(idle)} of 2 lines, the second {idle[-1]:.3f} s late" if idle else "no line"
        claims.add(f"a log that is silent for {IDLE_SECONDS} s goes on", figure, len(idle) == 2)


@contextmanager
def _front(api: Api) -> Iterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder), passing_on(port, api.url)):
        yield f"http://127.0.0.1:{port}"


def _write_steadily(log: _Log) -> None:
    pause = threading.Event()
    for _ in range(_LINES):
        log.write()
        pause.wait(_PAUSE_SECONDS)
    log.end()


def _write_after_a_pause(log: _Log) -> None:
    log.write()
    threading.Event().wait(IDLE_SECONDS)
    log.write()
    log.end()


async def _followed(log: _Log, url: str, token: str, followers: int, write: Callable[[_Log], None]) -> list[float]:
    """By how many seconds each follower's lines were late."""
    limits = httpx.Limits(max_connections=followers + 1)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, limits=limits, timeout=2 * IDLE_SECONDS, trust_env=False
    ) as client:
        ready = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(_follow(client, log.build_id, ready)) for _ in range(followers)]
        for _ in tasks:
            await ready.acquire()
        await asyncio.to_thread(write, log)
        return [late for found in await asyncio.gather(*tasks) for late in found]


async def _follow(client: httpx.AsyncClient, build_id: str, ready: asyncio.Semaphore) -> list[float]:
    events, late = EventParser(), []
    async with client.stream("GET", f"/v1/builds/{build_id}/log/live") as answer:
        ready.release()
        async for piece in answer.aiter_raw():
            for name, data in events.feed(piece):
                if name == "line":
                    late.append(time.time() - float(data["text"]))
                elif name == "end":
                    return late
    return late

"""Simulated nodes in a process of their own: ``python -m bench.nodes.fleet``, whose input is a pickled `Fleet`.

What they take from the queue they claim and end at once, by the farm's own code. Says so when all are there.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bench.nodes.own_redis import ADDRESSES
from bench.nodes.recording import Repeated
from bench.nodes.simulated import SimulatedNode
from buildfarm.farm import Farm, open_farm
from buildfarm.model import BuildResult
from buildfarm.queue.messages import check_message
from buildfarm.settings import read_settings
from buildfarm.store import Lease, Leases
from testkit.queue.node import DIGEST
from workers.attempt.claim import claim

_AT_ONCE = 50
_THREADS = 16  # one that waits whether a node takes its offer holds up no other node's build


@dataclass(frozen=True)
class Fleet:
    """Which nodes to simulate, and after which real one."""

    numbers: Sequence[int]
    recorded: Sequence[Repeated]
    node_id: str
    connections: int
    port: int
    namespace: str


def node_name(number: int) -> str:
    """As long as the names of testkit's nodes."""
    return f"test-{number:08d}"


def take(farm: Farm, node_id: str, raw: bytes) -> None:
    """What a node does with a message: it is kept, the build is claimed and ended at once, the message forgotten."""
    settings = farm.settings
    message = json.loads(raw)
    check_message(message)
    tag = message["properties"]["delivery_tag"]
    client: Any = farm.database.client
    unacked, index = farm.database.key("unacked"), farm.database.key("unacked_index")
    client.pipeline().zadd(index, {tag: time.time()}).hset(unacked, tag, raw).execute()
    leases = Leases(farm.admission, settings.lease_seconds, settings.attempts_max, settings.renew_seconds)
    lease = claim(leases, json.loads(message["body"])[0][0], node_id, settings.outage_seconds, settings.offer_seconds)
    if isinstance(lease, Lease) and lease.build is not None:
        request = lease.build.request
        leases.succeed(
            lease,
            BuildResult(
                repository=request.repository, digest=DIGEST, tag=request.tag, layers=(), uploaded_bytes=0,
                phase_seconds={}, node=node_id, attempt=lease.attempt,
            ),
        )  # fmt: skip
    client.pipeline().zrem(index, tag).hdel(unacked, tag).execute()


def _told(done: Future[None]) -> None:
    if error := done.exception():
        print(f"a simulated node could not do its build: {error!r}", file=sys.stderr, flush=True)


async def run(fleet: Fleet, farm: Farm) -> None:
    """Until a signal ends it."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    with ThreadPoolExecutor(_THREADS) as threads:

        def made(number: int) -> SimulatedNode:
            name = node_name(number)
            took = lambda raw: threads.submit(take, farm, name, raw).add_done_callback(_told)  # noqa: E731
            return SimulatedNode(fleet.recorded, (fleet.node_id, name), took)

        nodes = [made(number) for number in fleet.numbers]
        for start in range(0, len(nodes), _AT_ONCE):
            few = enumerate(nodes[start : start + _AT_ONCE])
            await asyncio.gather(
                *(node.connect(ADDRESSES[n % len(ADDRESSES)], fleet.port, fleet.connections) for n, node in few)
            )
        for node in nodes:
            node.begin()
        print("ready", flush=True)
        await ended.wait()
        for node in nodes:
            node.close()


if __name__ == "__main__":
    with open_farm(read_settings()) as opened:
        asyncio.run(run(pickle.load(sys.stdin.buffer), opened))

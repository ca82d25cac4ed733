"""A Redis that takes no writes, that ends every connection, and whose disk is slow: no build may be lost."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import redis
from pydantic import SecretStr

from buildfarm.errors import BuildfarmError
from buildfarm.farm import Farm
from buildfarm.model import Build, State
from localfarm.packages import ensure_packages
from testkit.cluster.shell import run
from testkit.queue.farm import fresh_farm, node, request
from testkit.table import Claims
from verify.queue.small_redis import small_redis

OUTAGE_SECONDS = 10
FLUSH_SECONDS = 0.3  # what each flush to the slow disk takes more
_BUILDS = 40
_NAME = "buildfarm-network-redis"
_NOWHERE = (
    "192.0.2.1",
    "6379",
)  # an address for documentation (RFC 5737): no server to copy from, so no write is taken
_END_SECONDS = 120


def tell(claims: Claims) -> None:
    """Builds go on under each of them."""
    for told, trouble in (
        (f"takes no writes for {OUTAGE_SECONDS} s", _read_only),
        (f"ends all connections every half a second for {OUTAGE_SECONDS} s", _cut_off),
        (f"flushes each write to its disk {FLUSH_SECONDS} s later for {OUTAGE_SECONDS} s", _slow_disk),
    ):
        with _farm() as (farm, client):
            builds, refused = _builds_under(farm, lambda trouble=trouble, client=client: trouble(client))  # type: ignore[misc]
        once = [build for build in builds if build.state is State.SUCCEEDED and build.attempt == 1]
        ended = sum(build.state is State.SUCCEEDED for build in builds)
        figure = f"{ended} of {len(builds)} succeed, {len(once)} in their first attempt; {len(refused)} submits refused"
        figure += f" ({refused[0]})" if refused else ""
        claims.add(f"Redis {told}: no accepted build is lost", figure, ended == len(builds) >= _BUILDS // 2)


@contextmanager
def _farm() -> Iterator[tuple[Farm, redis.Redis]]:
    """A farm of two simulated nodes on a Redis of its own, which flushes every write."""
    with ExitStack() as stack:
        url = stack.enter_context(small_redis("256mb", "--appendonly", "yes", "--appendfsync", "always", name=_NAME))
        farm = stack.enter_context(fresh_farm(redis_url=SecretStr(url)))
        for _ in range(2):
            stack.enter_context(node(farm, 2, 1, BUILDFARM_REDIS_URL=url))
        yield farm, stack.enter_context(redis.Redis.from_url(url))


def _builds_under(farm: Farm, trouble: Callable[[], None]) -> tuple[list[Build], list[str]]:
    """The builds that were accepted before, under and after the trouble, ended; and what submits were told."""
    accepted: list[str] = []
    refused: list[str] = []
    over = threading.Event()

    def submit() -> None:
        pause = threading.Event()
        while not over.is_set() or len(accepted) < _BUILDS:
            try:
                accepted.append(farm.submit(request("network", f"app-{len(accepted)}", cached_result=False)).id)
            except BuildfarmError as error:
                refused.append(error.message)
            pause.wait(0.25)

    submitting = threading.Thread(target=submit)
    submitting.start()
    try:
        time.sleep(2)  # for builds to be under way
        trouble()
    finally:
        over.set()
        submitting.join()
    return [farm.wait(build_id, timeout_seconds=_END_SECONDS) for build_id in accepted], refused


def _read_only(client: redis.Redis) -> None:
    client.replicaof(*_NOWHERE)
    try:
        time.sleep(OUTAGE_SECONDS)
    finally:
        client.replicaof("NO", "ONE")


def _cut_off(client: redis.Redis) -> None:
    until = time.monotonic() + OUTAGE_SECONDS
    while time.monotonic() < until:
        client.client_kill_filter(_type="normal", skipme=True)
        time.sleep(0.5)


def _slow_disk(client: redis.Redis) -> None:
    ensure_packages({"strace": "strace"}, print)
    client.ping()
    pid = run("docker", "inspect", "--format={{.State.Pid}}", _NAME).strip()
    delay = f"inject=fdatasync,fsync:delay_exit={round(FLUSH_SECONDS * 1e6)}"
    command = ["strace", "-f", "-qq", "-p", pid, "-e", "trace=fdatasync,fsync", "-e", delay, "-o", "/dev/null"]
    with subprocess.Popen(command) as tracing:
        time.sleep(OUTAGE_SECONDS)
        if tracing.poll() is not None:
            raise RuntimeError("the flushes of Redis could not be slowed down")
        tracing.terminate()

"""Redis behind Sentinel: its master dies with builds queued and running, and none is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from buildfarm.errors import StoreError
from buildfarm.farm import Farm, open_farm
from buildfarm.model import BuildRequest, State
from buildfarm.settings import Settings, read_settings
from buildfarm.sources.address import ArtifactSource
from localfarm.packages import ensure_packages, find_program
from testkit.table import Claims

QUEUED, RUNNING = 100, 4
BUILD_SECONDS = 2.0
NODES, SLOTS = 2, 2
SECONDS = 240
MASTER = "farm"
PASSWORD = "verify-sentinel"
REDIS_PORTS, SENTINEL_PORTS = (7401, 7402), (7411, 7412, 7413)


def run(claims: Claims) -> None:
    """Adds the claims. The nodes are the real Celery worker and store, with a pipeline that sleeps."""
    ensure_packages({"redis-server": "redis-server"}, print)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        masters = [stack.enter_context(_redis(Path(folder), port)) for port in REDIS_PORTS]
        for port in SENTINEL_PORTS:
            stack.enter_context(_sentinel(Path(folder), port))
        hosts = ",".join(f"127.0.0.1:{port}" for port in SENTINEL_PORTS)
        url = f"redis+sentinel://:{PASSWORD}@{hosts}/{MASTER}/0"
        os.environ["BUILDFARM_REDIS_URL"] = url
        settings = read_settings().model_copy(update={"namespace": "verify-sentinel:", "tenant_running_max": 100})
        farm = stack.enter_context(open_farm(settings))
        _wait_for_replica()
        ids = [_submit(farm, number) for number in range(QUEUED + RUNNING)]
        for number in range(NODES):
            stack.enter_context(_node(settings, number))
        _fail_over(claims, farm, masters[0], ids)


def _fail_over(claims: Claims, farm: Farm, master: subprocess.Popen[bytes], ids: list[str]) -> None:
    while (counts := _counts(farm))["running"] < RUNNING:
        time.sleep(0.02)
    killed_at = time.monotonic()
    master.kill()
    late, refused = "", 0
    while not late:
        try:
            late = _submit(farm, len(ids))
        except StoreError:
            refused += 1
            time.sleep(0.2)
    submitter_seconds = time.monotonic() - killed_at
    ids.append(late)
    states, attempts = Counter[str](), Counter[int]()
    deadline = time.monotonic() + SECONDS
    for build_id in ids:
        ended = None
        while ended is None or (not ended.state.final and time.monotonic() < deadline):
            try:
                ended = farm.wait(build_id, timeout_seconds=max(1, deadline - time.monotonic()))
            except StoreError:
                time.sleep(0.2)
        states[ended.state] += 1
        attempts[ended.attempt] += 1
    address = _ask(SENTINEL_PORTS[0], "GET-MASTER-ADDR-BY-NAME")
    figure = (
        f"killed with {counts['queued']} queued and {counts['running']} running;"
        f" {states.total()} ended, {states[State.SUCCEEDED]} succeeded, attempts {dict(sorted(attempts.items()))};"
        f" the master is port {address[1]} now; a submit went through after {submitter_seconds:.1f} s"
        f" ({refused} got the error that Redis is unreachable)"
    )
    holds = (
        states == {State.SUCCEEDED: len(ids)}
        and attempts == {1: len(ids)}
        and int(address[1]) == REDIS_PORTS[1]
        and counts["queued"] >= QUEUED
    )
    claims.add(
        f"Sentinel failover with {QUEUED} queued and {RUNNING} running: none lost, none built again", figure, holds
    )


def _counts(farm: Farm) -> dict[str, int]:
    rows = farm.queue(0).classes
    return {"queued": sum(row.queued for row in rows), "running": sum(row.running for row in rows)}


def _submit(farm: Farm, number: int) -> str:
    # A tenant has four builds queued at most; its others are held.
    tenant = f"tenant-{number // 4}"
    source = ArtifactSource(repository=f"sources/{tenant}", digest="sha256:" + f"{number:064x}")
    return farm.submit(
        BuildRequest(tenant=tenant, app=f"app-{number}", source=source, cached_result=False), build_id=f"{number:016x}"
    ).id


@contextmanager
def _redis(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    replica = [] if port == REDIS_PORTS[0] else ["--replicaof", "127.0.0.1", str(REDIS_PORTS[0])]
    data = folder / str(port)
    data.mkdir()
    options = {
        "port": str(port),
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "always",
        "requirepass": PASSWORD,
        "masterauth": PASSWORD,
        "maxmemory-policy": "noeviction",
        "repl-diskless-sync-delay": "0",
    }
    flat = [part for name, value in options.items() for part in (f"--{name}", value)]
    with _process([str(find_program("redis-server")), *flat, *replica], folder / f"{port}.log") as process:
        _answers(port, PASSWORD)
        yield process


@contextmanager
def _sentinel(folder: Path, port: int) -> Iterator[None]:
    config = folder / f"sentinel-{port}.conf"
    config.write_text(
        f"port {port}\ndir {folder}\nsentinel monitor {MASTER} 127.0.0.1 {REDIS_PORTS[0]} 2\n"
        f"sentinel auth-pass {MASTER} {PASSWORD}\nsentinel down-after-milliseconds {MASTER} 2000\n"
        f"sentinel failover-timeout {MASTER} 10000\n"
    )
    with _process([str(find_program("redis-server")), str(config), "--sentinel"], folder / f"{port}.log"):
        _answers(port, None)
        yield


@contextmanager
def _node(settings: Settings, number: int) -> Iterator[None]:
    environment = {
        **os.environ,
        "BUILDFARM_NAMESPACE": settings.namespace,
        "BUILDFARM_TENANT_RUNNING_MAX": "100",
        "BUILDFARM_NODE_ID": f"verify-{number}",
        "BUILDFARM_SLOTS": str(SLOTS),
        "BENCH_SECONDS": str(BUILD_SECONDS),
    }
    command = [sys.executable, "-W", "ignore", "-m", "testkit.queue.node"]
    with _process(command, Path(tempfile.gettempdir()) / f"verify-sentinel-{number}.log", environment):
        yield


@contextmanager
def _process(
    command: list[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, password: str | None) -> None:
    client = redis.Redis(port=port, password=password, socket_timeout=1)
    for _ in range(100):
        try:
            if client.ping():
                return
        except redis.RedisError:
            time.sleep(0.1)
    raise SystemExit(f"Redis at port {port} cannot be reached")


def _wait_for_replica() -> None:
    client = redis.Redis(port=REDIS_PORTS[0], password=PASSWORD)
    for _ in range(300):
        known = _ask(SENTINEL_PORTS[0], "MASTER")
        if client.info("replication")["connected_slaves"] == 1 and (
            int(known["num-slaves"]), int(known["num-other-sentinels"])
        ) == (1, len(SENTINEL_PORTS) - 1):  # fmt: skip
            return
        time.sleep(0.1)
    raise SystemExit("The Sentinels do not find one another.")


def _ask(port: int, question: str) -> Any:
    sentinel: Any = redis.Redis(port=port, decode_responses=True)
    return sentinel.execute_command("SENTINEL", question, MASTER)

"""What the queue costs: time of a submit, memory of a waiting build, commands of a whole one."""

from __future__ import annotations

import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.measure import TICK_SECONDS
from buildfarm.farm import Farm
from buildfarm.model import Build, BuildRequest
from buildfarm.oci.digest import Digest
from buildfarm.queue.app import make_celery
from buildfarm.queue.names import queue_names, shard_of
from buildfarm.sources.address import ArtifactSource
from testkit.queue.node import NOTHING

SOURCE = ArtifactSource(repository="sources/bench", digest=Digest("sha256:" + "a" * 64))
ROUNDS = 12
BATCH = 200
COUNTED = 300
SINGLES = 1000


def rates(farm: Farm, node: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Submits and whole builds against bare tasks, a batch of each in turn; the pipeline does nothing.

    The node stands still while messages are sent, so that neither time has the other's in it. What the node needs for
    them is its processor time: other processes of the machine are not in it. A build is delivered by Celery as a task
    is; what comes on top, from claim to finish, is the difference.
    """
    celery = make_celery(farm.settings)
    queue = shard_of("bare", "interactive", farm.settings.shards)
    times: dict[str, list[float]] = {"submit": [], "send": [], "build": [], "task": []}
    walls: dict[str, list[float]] = {"build": [], "task": []}
    for number in range(ROUNDS + 1):
        names = iter(f"r{number}-{count}" for count in range(BATCH))
        for kind, ran, step in (
            ("send", "task", lambda: celery.send_task(NOTHING, args=("x" * 16,), queue=queue)),
            ("submit", "build", lambda names=names: farm.submit(_request(next(names)))),
        ):
            node.send_signal(signal.SIGSTOP)
            sent = _seconds(step, BATCH)
            before = _cpu_seconds(node.pid)
            node.send_signal(signal.SIGCONT)
            wall = _until_idle(farm)
            if number:  # the first round warms both up
                times[kind].append(sent / BATCH)
                times[ran].append((_cpu_seconds(node.pid) - before) / BATCH)
                walls[ran].append(wall / BATCH)
    extra = [build - task for build, task in zip(times["build"], times["task"], strict=True)]
    return {
        "submit": _ratio(times["submit"], times["send"]),
        "claim_to_finish": _ratio(extra, times["task"]),
        "delivery_too": _ratio(times["build"], times["task"]),
        "delivery_too_wall": _ratio(walls["build"], walls["task"]),
    }


def memory_of_waiting(farm: Farm, depth: int) -> dict[str, float]:
    """Makes so many builds wait, each of its own app, and says what each costs Redis."""
    client: Any = farm.database.client
    before = int(client.info("memory")["used_memory"])
    request_bytes = 0
    for number in range(depth):
        request = _request(f"t-{number // 100}", f"app-{number % 100}")
        request_bytes += len(request.model_dump_json())
        farm.submit(request)
    used = int(client.info("memory")["used_memory"]) - before
    return {"bytes": (used - request_bytes) / depth, "request_bytes": request_bytes / depth, "builds": depth}


def submit_at_depth(shallow: Farm, deep: Farm) -> dict[str, Any]:
    """The same submits on a short and on a long queue, one of each in turn, each timed by itself."""
    farms = {"shallow": shallow, "deep": deep}
    times: dict[str, list[float]] = {name: [] for name in farms}
    places: dict[str, list[float]] = {name: [] for name in farms}
    for number in range(SINGLES):
        for name, farm in farms.items():
            request = _request(f"t-{number % 10}", f"new-{number}")  # a tenant that has a hundred builds waiting
            started = time.monotonic()
            build = farm.submit(request)
            submitted = time.monotonic()
            farm.queue_position(build)
            times[name].append(submitted - started)
            places[name].append(time.monotonic() - submitted)
    return {"submit": _medians(times), "place": _medians(places)}


def _medians(times: dict[str, list[float]]) -> dict[str, Any]:
    quartiles = {name: [cut * 1000 for cut in statistics.quantiles(found, n=4)] for name, found in times.items()}
    return {"ratio": quartiles["deep"][1] / quartiles["shallow"][1], "quartiles_ms": quartiles}


def commands_of_builds(farm: Farm) -> dict[str, float]:
    """Commands that reach Redis while builds go from submit to done, the nodes' own upkeep among them."""
    _build_all(farm, "warm", 20)
    client: Any = farm.database.client
    seen, ready, over = [0, 0], threading.Event(), threading.Event()

    def listen() -> None:
        with client.monitor() as monitor:
            ready.set()
            for told in monitor.listen():
                if over.is_set():
                    return
                seen[1 if told.get("client_type") == "lua" else 0] += 1

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    ready.wait()
    _build_all(farm, "counted", COUNTED)
    over.set()
    client.ping()
    thread.join(5)
    return {"sent": seen[0] / COUNTED, "inside": seen[1] / COUNTED, "builds": COUNTED}


def _build_all(farm: Farm, prefix: str, count: int) -> None:
    """Every one of them waits in the queue before the last is submitted, as on a busy farm."""
    ids = [farm.submit(_request(f"{prefix}-{number}")).id for number in range(count)]
    for build_id in ids:
        ended: Build = farm.wait(build_id, timeout_seconds=60)
        if ended.result is None:
            raise SystemExit(f"build {build_id} is {ended.state}: {ended.failure}")


def _request(tenant: str, app: str = "app") -> BuildRequest:
    return BuildRequest(tenant=tenant, app=app, source=SOURCE, cached_result=False)


def _seconds(step: Callable[[], object], count: int) -> float:
    started = time.monotonic()
    for _ in range(count):
        step()
    return time.monotonic() - started


def _cpu_seconds(pid: int) -> float:
    """Processor time of a process (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_SECONDS


def _until_idle(farm: Farm) -> float:
    """Until no message waits and none is being worked on."""
    started = time.monotonic()
    client: Any = farm.database.client
    queues = [farm.database.key(name) for name in queue_names(farm.settings.classes, farm.settings.shards)]
    while True:
        pipeline = client.pipeline(transaction=False)
        for queue in queues:
            pipeline.llen(queue)
        pipeline.hlen(farm.database.key("unacked"))
        if not sum(pipeline.execute()):
            return time.monotonic() - started
        time.sleep(0.005)


def _ratio(ours: list[float], bare: list[float]) -> dict[str, Any]:
    return {
        "ratios": [one / other for one, other in zip(ours, bare, strict=True)],
        "ours_ms": statistics.median(ours) * 1000,
        "bare_ms": statistics.median(bare) * 1000,
    }

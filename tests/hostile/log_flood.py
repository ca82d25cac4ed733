"""A tenant whose ten builds print as fast as they can, on a farm whose Redis has 200 MB: what its neighbour notices."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from buildfarm.errors import StoreFullError
from buildfarm.events import LogLine
from buildfarm.model import Build, State
from testkit.table import Claims
from tests.hostile.arena import MIB, Arena, open_arena
from verify.queue.small_redis import small_redis

REDIS_MB = 200
BUILDS = 10
LOGS_BYTES = REDIS_MB * MIB // 4  # what a Redis of this size gives to logs, whatever the settings say
TENANT_BYTES = LOGS_BYTES // 2
SECONDS, SECONDS_MAX = 60.0, 200.0  # at least so long, and until more was printed than Redis has
SUBMIT_SECONDS_MAX, CANCEL_SECONDS_MAX, LINE_SECONDS_MAX = 2.0, 5.0, 5.0
LOGS_SECONDS_MAX = 200.0  # from the end of the builds until the registry has their logs

# Some 2 MB a second: long lines, which cost the most, and between them short ones.
FLOOD = """
echo START
line=$(head -c 3990 /dev/zero | tr '\\0' y)
while true; do for n in 1 2 3 4 5 6 7 8 9 10; do echo "$line"; done; echo short; sleep 0.02; done
"""
TALK = "for n in 1 2 3 4 5 6; do echo tick $(date +%s.%N); sleep 0.3; done"
WAIT = "echo READY; sleep 60"


@dataclass
class Memory:
    """What Redis used, and of it logs, looked at ten times a second."""

    start: int
    peak: int = 0
    logs_peak: int = 0
    tenant_peak: int = 0
    printed: dict[str, int] = field(default_factory=dict)

    @property
    def printed_bytes(self) -> int:
        """What all floods have sent."""
        return sum(self.printed.values())


@dataclass
class Neighbour:
    """What another tenant saw, in seconds."""

    submits: list[float] = field(default_factory=list)
    builds: list[float] = field(default_factory=list)
    lines: list[float] = field(default_factory=list)
    cancels: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def measure(claims: Claims, seconds: float = SECONDS) -> None:
    """Adds the claims; raises nothing if they fall short."""
    limits = {
        "BUILDFARM_SLOTS": str(BUILDS + 2),
        "BUILDFARM_LOG_BYTES": str(10**10),  # nothing but the budget bounds a log here
        "BUILDFARM_BUILD_SECONDS": "600",
        "BUILDFARM_SILENCE_SECONDS": "120",
    }
    with small_redis(f"{REDIS_MB}mb") as url, open_arena(BUILDFARM_REDIS_URL=url, **limits) as arena:
        floods = [arena.script(FLOOD, app=f"flood-{number}") for number in range(BUILDS)]
        for flood in floods:
            _until(arena, flood, "START", 120)
        neighbour = Neighbour()
        with _watched(arena, floods) as memory:
            started = time.monotonic()
            while (took := time.monotonic() - started) < seconds or (
                took < SECONDS_MAX and memory.printed_bytes < REDIS_MB * MIB
            ):
                _visit(arena, neighbour)
        states = [arena.farm.get(flood.id) for flood in floods]
        _claim_memory(claims, memory, took)
        _claim_neighbour(claims, neighbour)
        _claim_floods(claims, arena, states, memory)
        _claim_full(claims, arena)
        wrong = arena.is_as_before()
        claims.add("the node after the flood builds and is clean", wrong or "it is", not wrong)


def _claim_memory(claims: Claims, memory: Memory, seconds: float) -> None:
    claims.add(
        f"{BUILDS} builds of one tenant flood their logs: Redis stays below 80 % of {REDIS_MB} MiB",
        f"{memory.printed_bytes / 1e6:,.0f} MB came in {seconds:.0f} s; Redis used {memory.start / MIB:.0f} MiB before,"
        f" {memory.peak / MIB:.0f} at its peak",
        memory.peak < 0.8 * REDIS_MB * MIB and memory.printed_bytes > REDIS_MB * MIB,
    )
    claims.add(
        f"and its logs within their budget of {TENANT_BYTES // MIB} MiB",
        f"{memory.tenant_peak / MIB:.1f} MiB at their peak, {memory.logs_peak / MIB:.1f} of all tenants",
        memory.tenant_peak <= TENANT_BYTES and memory.logs_peak <= LOGS_BYTES,
    )


def _claim_neighbour(claims: Claims, neighbour: Neighbour) -> None:
    for what, found, most in (
        ("submit is answered", neighbour.submits, SUBMIT_SECONDS_MAX),
        ("line of a log arrives", neighbour.lines, LINE_SECONDS_MAX),
        ("cancelled build ends", neighbour.cancels, CANCEL_SECONDS_MAX),
    ):
        figure = (
            f"median {statistics.median(found):.2f} s, at most {max(found):.2f} of {len(found)}" if found else "none"
        )
        claims.add(f"meanwhile a neighbour's {what} within {most:.0f} s", figure, bool(found) and max(found) <= most)
    took = f"median {statistics.median(neighbour.builds):.1f} s" if neighbour.builds else ""
    claims.add(
        "and each of its builds succeeds in its first attempt",
        f"{len(neighbour.builds)} built, {took}; wrong: {'; '.join(neighbour.wrong)[:200] or 'nothing'}",
        bool(neighbour.builds) and not neighbour.wrong,
    )


def _claim_floods(claims: Claims, arena: Arena, states: list[Build], memory: Memory) -> None:
    attempts = {build.attempt for build in states}
    running = sum(build.state is State.RUNNING for build in states)
    claims.add(
        "no flooding build loses its lease", f"{running} of {BUILDS} run on, attempts {attempts}", attempts == {1}
    )
    for build in states:
        arena.farm.cancel(build.id)
    ended = [arena.ended(build) for build in states]
    deadline = time.monotonic() + LOGS_SECONDS_MAX
    # Until the node has sent it, what Redis has of an ended build's log may go for those that still run.
    while waiting := [build for build in ended if arena.farm.history.whole(build.id) is None]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    wrong = [problem for build in ended if (problem := _wrong_in_log(arena, build))]
    claims.add(
        "each of their logs is then whole in the registry",
        f"{BUILDS - len(waiting)} of {BUILDS}, {memory.printed_bytes / 1e6:,.0f} MB; wrong: {wrong or 'nothing'}",
        not waiting and not wrong,
    )


def _claim_full(claims: Claims, arena: Arena) -> None:
    """Redis is at its limit while a build runs and another of the same app is held."""
    first, second = (_submit(arena, f"echo READY; sleep 5; echo {name}", "full") for name in ("first", "second"))
    _until(arena, first, "READY", 60)
    client = arena.farm.database.client
    # Less than Redis uses without a single log, so that it stays full when logs are dropped.
    client.config_set("maxmemory", "1mb")
    try:
        refused = ""
        try:
            _submit(arena, "true", "late")
        except StoreFullError as error:
            refused = error.message
        ended = [arena.ended(build) for build in (first, second)]
        still_full = client.info("memory")["used_memory"] >= client.info("memory")["maxmemory"]
    finally:
        client.config_set("maxmemory", f"{REDIS_MB}mb")
    claims.add(
        "in a Redis at its limit, the running build ends, the next one is claimed and built, and a new one is refused",
        f"{', '.join(build.state for build in ended)} in attempts {[build.attempt for build in ended]}; {refused}",
        still_full and bool(refused) and all(build.state is State.SUCCEEDED and build.attempt == 1 for build in ended),
    )


def _wrong_in_log(arena: Arena, build: Build) -> str:
    """What a log lacks of what came to Redis; empty if nothing."""
    database = arena.farm.database
    least_bytes = int(database.client.hget(database.key("build", build.id), "log_bytes") or 0)
    texts = arena.text(build).splitlines()
    marks = sum("lines are missing here" in text for text in texts)
    size = sum(len(text) + 1 for text in texts)
    if any(text.strip() == "START" for text in texts) and not marks and 0 < least_bytes <= size:
        return ""
    return f"{marks} marks, {size:,} bytes of {least_bytes:,}"


def _visit(arena: Arena, neighbour: Neighbour) -> None:
    """The neighbour submits two builds, follows the log of one to its end, and cancels the other."""
    try:
        started = time.monotonic()
        talks = _submit(arena, TALK, "talks")
        neighbour.submits.append(time.monotonic() - started)
        sleeps = _submit(arena, WAIT, "sleeps")
        for item in arena.farm.follow(talks.id):
            if isinstance(item, LogLine) and item.text.strip().startswith("tick "):
                neighbour.lines.append(time.time() - float(item.text.split()[1]))
        ended = arena.farm.get(talks.id)
        neighbour.builds.append(time.monotonic() - started)
        if ended.state is not State.SUCCEEDED or ended.attempt != 1:
            neighbour.wrong.append(f"{ended.state} in attempt {ended.attempt}: {ended.failure}")
        _until(arena, sleeps, "READY", 60)
        started = time.monotonic()
        arena.farm.cancel(sleeps.id)
        arena.ended(sleeps)
        neighbour.cancels.append(time.monotonic() - started)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is what the neighbour suffers
        neighbour.wrong.append(f"{type(error).__name__}: {error}")


def _submit(arena: Arena, text: str, app: str) -> Build:
    return arena.script(f"# {time.time_ns()}\n{text}", app=app, tenant="neighbour", run_policy="all")


@contextmanager
def _watched(arena: Arena, floods: list[Build]) -> Iterator[Memory]:
    database = arena.farm.database
    memory = Memory(start=int(database.client.info("memory")["used_memory"]))
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            memory.peak = max(memory.peak, int(database.client.info("memory")["used_memory"]))
            kept = database.client.hgetall(database.key("logs"))
            memory.logs_peak = max(memory.logs_peak, int(kept.get("*", 0)))
            memory.tenant_peak = max(memory.tenant_peak, int(kept.get(arena.tenant, 0)))
            for flood in floods:
                written = database.client.hget(database.key("build", flood.id), "log_bytes")
                memory.printed[flood.id] = int(written or 0)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield memory
    finally:
        over.set()
        thread.join()


def _until(arena: Arena, build: Build, word: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not any(word in line.text for line in arena.farm.log_streams.read(build.id)):
        found = arena.farm.get(build.id)
        assert time.monotonic() < deadline and not found.state.final, f"no {word}: {found.state} {found.failure}"
        time.sleep(0.1)

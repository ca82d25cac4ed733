"""The whole: made and cleared away, also when it is interrupted or killed in between."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from buildfarm.errors import BuildfarmError
from buildfarm.farm import Farm
from buildfarm.node import Node
from testkit.cluster import machine, network, services
from testkit.cluster.engines import OWN, Engine
from testkit.cluster.machine import Machine
from testkit.cluster.shell import run, wait

ROOT = Path("/var/tmp/buildfarm-faults")
PROGRAMS = {
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "mkfs.ext4": "e2fsprogs",
    "dockerd": "docker.io",
}
READY_SECONDS = 240.0


class Cluster:
    """Nodes of one farm on this machine."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.machines: list[Machine] = []
        self._variables = variables

    def add(
        self,
        golden: Path | None = None,
        *,
        private: Sequence[str] = (),
        engine_options: Sequence[str] = (),
        engine: Engine = OWN,
    ) -> Machine:
        """Another node, its engine running, its worker not."""
        new = Machine(len(self.machines) + 1, ROOT, self._variables, engine)
        new.private += private
        new.engine_options += engine_options
        new.install(golden)
        new.boot()
        self.machines.append(new)
        return new

    def keep_logs(self) -> None:
        """What workers and engines wrote outlives them, until the next run."""
        kept = ROOT / "logs"
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        for one in self.machines:
            for log in one.root.glob("*.log"):
                shutil.copy(log, kept / f"{one.id}-{log.name}")

    def node(self, node_id: str | None) -> Machine:
        """The node of this name."""
        return next(found for found in self.machines if found.id == node_id)


@contextmanager
def cluster(variables: Mapping[str, str], *, own_services: bool) -> Iterator[Cluster]:
    """An empty cluster with a switch, and a Redis and a registry where those of the farm are not to be used.

    One at a time on a machine. Whatever ends the block or its process, nothing of it is left. Raises RuntimeError.
    """
    ROOT.mkdir(parents=True, exist_ok=True)
    with _alone(), _ended_by_sigterm():
        clear_away()
        made = Cluster(variables)
        try:
            network.make_switch()
            if own_services:
                services.start(ROOT)
            yield made
        finally:
            made.keep_logs()
            clear_away()
            for one in made.machines:
                one.reap()


def clear_away() -> None:
    """Whatever is left of a cluster."""
    machine.clear_away(ROOT)
    network.clear_away()
    services.clear_away(ROOT)


def golden_disk(farm: Farm, variables: Mapping[str, str], engine: Engine = OWN) -> Path:
    """A disk of a node that was ready once, with the builder of this farm on its engine; made if it is not there.

    Raises RuntimeError if the node pulls the builder more than once.
    """
    builder = farm.builder().rpartition(":")[2]
    of_engine = "" if engine == OWN else f".{engine.name}"
    path = ROOT / f"golden-{builder[:16]}{of_engine}.ext4"
    if path.exists():
        return path
    for old in ROOT.glob(f"golden-{'?' * 16}{of_engine}.*"):
        old.unlink()
    one = Machine(0, ROOT, variables, engine)
    one.install()
    one.boot()
    one.start_worker()
    wait_for_node(farm, one, lambda node: node.accepting)
    one.signal_worker(signal.SIGTERM)
    one.worker_ended(60)
    one.power_off()
    image = one.root / "disk.ext4"
    half = path.with_suffix(".half")
    run("umount", one.disk)
    image.rename(half)
    half.rename(path)
    machine.clear_away(ROOT)
    one.reap()
    run("ip", "netns", "del", network.namespace_of(0))
    return path


def answers(farm: Farm) -> bool:
    """Whether its Redis and its registry do."""
    try:
        farm.records.queued_count()
        farm.registry.ping()
    except BuildfarmError:
        return False
    return True


def wait_for_node(farm: Farm, one: Machine, check: Callable[[Node], bool], seconds: float = READY_SECONDS) -> float:
    """Returns after how many seconds the farm sees the node so. Raises RuntimeError if its worker ends instead."""

    def seen() -> bool:
        if not one.works:
            raise RuntimeError(f"the worker of {one.id} ended:\n{one.log[-2000:]}")
        return any(node.id == one.id and check(node) for node in farm.nodes())

    return wait(seen, lambda: f"{one.id} is not as it should be: {farm.nodes()}\n{one.log[-2000:]}", seconds)


@contextmanager
def _alone() -> Iterator[None]:
    """One harness at a time. Its warden keeps the lock until all is cleared away, should this process die."""
    with (ROOT / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(f"Another run uses {ROOT}; wait for its end, or end it.") from error
        os.set_inheritable(file.fileno(), True)
        warden = subprocess.Popen(
            [sys.executable, "-m", "testkit.cluster.warden"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            pass_fds=[file.fileno()],
            start_new_session=True,
        )
        try:
            yield
        finally:
            warden.communicate(b"done", timeout=60)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does, so that what stands in its way out is done."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

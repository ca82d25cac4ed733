"""The local build node: a process of its own that outlives the command that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import BuildfarmError, SetupError
from buildfarm.model import Node, NodeState
from buildfarm.settings import Settings
from buildfarm.store import Nodes, open_database
from workers.local.packages import tail
from workers.local.waiting import wait_until

PID_FILE = "worker.pid"
LOG_FILE = "worker.log"
READY_SECONDS = 600  # a node pulls the builder before it takes builds
KILL_SECONDS = 5


@dataclass(frozen=True)
class Process:
    """A process that is told from a later one with the same number by when it started."""

    pid: int
    started: str  # in clock ticks since the machine's start: field 22 of /proc/<pid>/stat

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        with suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # ours, when this very command started it
        return _started(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        if self.alive:
            os.kill(self.pid, number)


def running_worker(directory: Path) -> Process | None:
    """The local node's process, if it runs."""
    try:
        pid, started = (directory / PID_FILE).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    process = Process(int(pid), started)
    return process if process.alive else None


def start_worker(directory: Path, settings: Settings) -> None:
    """Starts the node and returns when it takes builds. Raises SetupError with its last log lines where it does not."""
    log = directory / LOG_FILE
    begun_at = time.time()
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "workers"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={**os.environ, "BUILDFARM_STATE_DIRECTORY": str(directory), "BUILDFARM_LOG_FORMAT": "json"},
            start_new_session=True,
        )
    process = Process(child.pid, _started(child.pid))
    (directory / PID_FILE).write_text(f"{process.pid} {process.started}\n")

    def ready() -> bool:
        node = find_node(settings)
        return child.poll() is not None or (node is not None and node.accepting and node.seen_at >= begun_at)

    if not wait_until(ready, READY_SECONDS) or child.poll() is not None:
        raise SetupError(f"The build node did not start:\n{tail(log.read_text(errors='replace'))}")


def stop_worker(directory: Path, seconds: float) -> bool:
    """Drains the node for at most ``seconds``, then kills it; False where none runs."""
    process = running_worker(directory)
    if process is None:
        return False
    process.signal(signal.SIGTERM)
    if not wait_until(lambda: not process.alive, seconds):
        process.signal(signal.SIGKILL)
        wait_until(lambda: not process.alive, KILL_SECONDS)
    (directory / PID_FILE).unlink(missing_ok=True)
    return True


def find_node(settings: Settings) -> Node | None:
    """This machine's node, as the farm sees it; None where the farm does not see it."""
    database = open_database(settings)
    try:
        found = (node for node in Nodes(database).all() if node.id == settings.node_id)
        return next((node for node in found if node.state is not NodeState.GONE), None)
    except BuildfarmError:
        return None
    finally:
        database.close()


def _started(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return "" if fields[0] == "Z" else fields[19]

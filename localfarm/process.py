"""Processes of the local farm that outlive the command which started them, found again by a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from localfarm.waiting import wait_until

KILL_SECONDS = 5


@dataclass(frozen=True)
class Process:
    """A process, distinguished from a later one with the same number by its start time."""

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


def running(pid_file: Path) -> Process | None:
    """The process that the file names, if it runs."""
    try:
        pid, started = pid_file.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    process = Process(int(pid), started)
    return process if process.alive else None


def start(
    directory: Path,
    arguments: Sequence[str],
    pid_file: Path,
    log: Path,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Process:
    """Runs Python with these arguments in the background, over its own log; ``variables`` are for it alone."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={
                **os.environ,
                "BUILDFARM_STATE_DIRECTORY": str(directory),
                "BUILDFARM_LOG_FORMAT": "json",
                **variables,
            },
            start_new_session=True,
        )
    process = Process(child.pid, _started(child.pid))
    pid_file.write_text(f"{process.pid} {process.started}\n")
    # Its end is seen through /proc; the object would warn that it was not waited for.
    child.returncode = 0
    return process


def stop(pid_file: Path, seconds: float) -> bool:
    """Ends the process with SIGTERM, and kills it if it has not ended in time; False if none runs."""
    process = running(pid_file)
    if process is None:
        return False
    process.signal(signal.SIGTERM)
    if not wait_until(lambda: not process.alive, seconds):
        process.signal(signal.SIGKILL)
        wait_until(lambda: not process.alive, KILL_SECONDS)
    pid_file.unlink(missing_ok=True)
    return True


def _started(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return "" if fields[0] == "Z" else fields[19]

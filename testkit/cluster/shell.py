"""What the harness asks of the operating system: commands, processes, and waiting with a deadline."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

COMMAND_SECONDS = 120.0


def run(*command: str | Path, check: bool = True, seconds: float = COMMAND_SECONDS) -> str:
    """A command's output. Raises RuntimeError with what it said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def wait(check: Callable[[], bool], otherwise: str | Callable[[], str], seconds: float = 60.0) -> float:
    """Returns after how many seconds ``check`` was true. Raises TimeoutError that says what is otherwise."""
    started = time.monotonic()
    while not check():
        if time.monotonic() - started > seconds:
            raise TimeoutError(otherwise if isinstance(otherwise, str) else otherwise())
        time.sleep(0.02)
    return time.monotonic() - started


def children(pid: int) -> list[int]:
    """The processes that this one started and that still run, of all its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, task.read_text().split())
    return found


def descendants(pid: int) -> Iterator[int]:
    """Every process below this one."""
    for child in children(pid):
        yield child
        yield from descendants(child)


def mentioning(text: str) -> list[int]:
    """Processes, but for this one, whose command line has this text in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if text.encode() in (process / "cmdline").read_bytes() and int(process.name) != os.getpid():
                found.append(int(process.name))
    return found


def send(pid: int, number: signal.Signals) -> None:
    """A signal; to a process that has ended it means nothing."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)

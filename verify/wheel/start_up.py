"""What installed commands cost, process start to exit."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from buildfarm.cli.error_handler import Exit
from testkit.table import Claims

ROUNDS = 10
LIST = ("list",)
LIMITS = {("--version",): 0.1, ("--help",): 0.1, ("lsit",): 0.1, ("list", "--nonsense"): 0.1, LIST: 0.35}
# Each with what it ends with: a crash is no fast start. No farm is needed, for `list` finds none.
CODES = {
    ("--version",): Exit.DONE,
    ("--help",): Exit.DONE,
    ("lsit",): Exit.USAGE,
    ("list", "--nonsense"): Exit.USAGE,
    LIST: Exit.FARM_FAULT,
}
NO_FARM = {"BUILDFARM_REDIS_URL": "redis://127.0.0.1:1"}
# Of a developer's machine: without its modules' bytecode a command starts slowly, and coverage slows it too. Nor has
# a user's command the API in front of it.
DROPPED = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "COVERAGE_PROCESS_START", "BUILDFARM_URL")


@dataclass(frozen=True)
class Run:
    """One run of a command."""

    seconds: float
    processor_seconds: float
    code: int


def measure_start_up(claims: Claims, program: Path, folder: Path) -> None:
    """Medians of so many rounds, after one that fills the machine's caches."""
    runs: dict[tuple[str, ...], list[Run]] = {command: [] for command in LIMITS}
    for _ in range(ROUNDS + 1):
        for command, done in runs.items():
            done.append(_run([str(program), *command], folder))
    for command, done in runs.items():
        _judge(claims, command, done[1:])


def _run(command: Sequence[str], folder: Path) -> Run:
    environment = {name: value for name, value in os.environ.items() if name not in DROPPED} | NO_FARM
    before, started = _children_seconds(), time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True)
    return Run(time.monotonic() - started, _children_seconds() - before, done.returncode)


def _judge(claims: Claims, command: tuple[str, ...], done: Sequence[Run]) -> None:
    words = f"buildfarm {' '.join(command)}"
    if wrong := [run.code for run in done if run.code != CODES[command]]:
        claims.add(f"`{words}` ends with {CODES[command]:d}", f"{wrong[0]} in {len(wrong)} of {len(done)} runs", False)
        return
    # By the clock, on a machine with other work, that work would be measured.
    busy, seconds = [run.processor_seconds for run in done], [run.seconds for run in done]
    figure = f"{_spread(busy)}; by the clock {_spread(seconds)}"
    limit = LIMITS[command]
    claims.add(f"`{words}` takes at most {limit} s of a processor", figure, statistics.median(busy) <= limit)


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.3f} s ({min(seconds):.3f} to {max(seconds):.3f})"


def _children_seconds() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime

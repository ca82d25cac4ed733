"""What a step cost: its time, the processor time of who did it, and the bytes that moved."""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """One run of one way."""

    seconds: float
    own_cpu_seconds: float  # this process and the children it waited for
    engine_cpu_seconds: float
    sent_bytes: int


def measure(step: Callable[[], int]) -> Cost:
    """Runs ``step``, which returns the bytes it sent."""
    own, engine, started = own_cpu(), cpu_of("dockerd"), time.monotonic()
    sent_bytes = step()
    seconds = time.monotonic() - started
    return Cost(seconds, own_cpu() - own, cpu_of("dockerd") - engine, sent_bytes)


def spread(values: Sequence[float], unit: str = "s") -> str:
    """Median, and from the least to the most."""
    return f"{statistics.median(values):.2f} {unit} ({min(values):.2f} to {max(values):.2f})"


def own_cpu() -> float:
    """Processor seconds of this process and of the children it waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def cpu_of(name: str) -> float:
    """Processor seconds of all processes of this name, with the children they waited for."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().strip() == name:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                total += sum(int(field) for field in fields[11:15])
        except OSError:
            continue
    return total * TICK_SECONDS

"""An idle machine, for those who measure one build after the other."""

from __future__ import annotations

import time
from pathlib import Path

_LOOK_SECONDS = 0.25
_WITHIN_SECONDS = 60.0


def wait_until_idle() -> None:
    """Returns when the processors had less than a tenth to do for a quarter of a second.

    A node that has just built replaces its sandbox, which takes a processor for half a second. Who measures the next
    build waits for that first. Raises TimeoutError if the machine is not idle within a minute.
    """
    end = time.monotonic() + _WITHIN_SECONDS
    busy, total = _ticks()
    while time.monotonic() < end:
        time.sleep(_LOOK_SECONDS)
        (busy_before, total_before), (busy, total) = (busy, total), _ticks()
        if busy - busy_before < (total - total_before) / 10:
            return
    raise TimeoutError(f"The machine was not idle within {_WITHIN_SECONDS:.0f} s. End what else runs on it.")


def _ticks() -> tuple[int, int]:
    """What all processors did so far, and that with their idle time. Format: proc_stat(5), first line."""
    spent = [int(field) for field in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    return sum(spent) - spent[3] - spent[4], sum(spent)

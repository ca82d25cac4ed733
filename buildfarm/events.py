"""What a follower of builds reads: lines of a log, and changes of state."""

from __future__ import annotations

from typing import Literal

from buildfarm.fields import Frozen
from buildfarm.model import Phase, State

LOG_TAIL_MAX = 10_000  # of a log's last lines, those that the API returns at once


class LogLine(Frozen):
    """One line of a build's log; ``position`` is where to go on reading after it."""

    position: str
    attempt: int
    phase: Phase
    text: str


class LogNow(Frozen):
    """The line that a build is writing, as it is now, less than a second old; empty if it writes none."""

    text: str


class Event(Frozen):
    """A change of a build's state. Of a request that came as a message and was refused: state `refused`, and why."""

    position: str  # where to go on reading after it; grows
    build: str
    state: State | Literal["refused"]
    tenant: str = ""
    app: str = ""
    build_class: str = ""
    attempt: int = 0
    node: str = ""
    superseded_by: str = ""
    reason: str = ""

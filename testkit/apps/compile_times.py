"""How long compiles take, with and without the app's own scripts, which run in every build whatever the cache has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from buildfarm.events import LogLine
from buildfarm.model import Phase
from buildfarm.store.logs import position_of

AGAIN_SHARE = 0.25  # of the first compile is what the second may take
QUICK_SECONDS = 0.5  # a compile of this length is mere starting of programs, which no cache can spare

_HEADER = "-----> "


@dataclass(frozen=True)
class CompileTime:
    """A compile, and how much of it the app's own scripts took."""

    seconds: float
    scripts_seconds: float = 0.0

    @property
    def farm_seconds(self) -> float:
        """Without the app's own scripts."""
        return max(self.seconds - self.scripts_seconds, 0.0)

    def share_of(self, first: CompileTime) -> float:
        """What part of the first compile this one takes, both without the app's own scripts."""
        return self.farm_seconds / first.farm_seconds if first.farm_seconds else 1.0

    def is_quick_after(self, first: CompileTime) -> bool:
        """Whether this compile takes as little as one on a cache should."""
        return self.farm_seconds <= max(AGAIN_SHARE * first.farm_seconds, QUICK_SECONDS)


def time_scripts(lines: Sequence[LogLine], scripts: str) -> float:
    """The seconds of the sections of a compile's log whose headers match, as the lines came to the log."""
    if not scripts:
        return 0.0
    headers = [line for line in lines if line.phase is not Phase.COMPILE or line.text.startswith(_HEADER)]
    ends = [*headers, *lines[-1:]]
    return sum(_moment(after) - _moment(header) for header, after in pairwise(ends) if _is_section_of(header, scripts))


def _is_section_of(header: LogLine, scripts: str) -> bool:
    return header.phase is Phase.COMPILE and bool(re.search(scripts, header.text.removeprefix(_HEADER)))


def _moment(line: LogLine) -> float:
    return position_of(line.position)[0] / 1000

"""The short lists of attacks and of faults, on an engine."""

from __future__ import annotations

import re

from testkit.cluster.cluster import ROOT
from testkit.cluster.engines import Engine
from testkit.table import Claims
from verify.network.engines.node import Trial, faults

# Beside the quick attacks of `make test`, which go for what an engine sets up (system calls, capabilities, mounts, the
# network, processes): what a container can take at most, which the engine's control groups and limits say.
LIMITS = (
    "memory hog", "shared memory hog", "disk filler", "inode filler", "file descriptor hog", "core dump of a secret",
    "set uid files",
)  # fmt: skip
_SECONDS = 1500.0


def attacks(claims: Claims, engine: str, trial: Trial) -> None:
    """One claim: the attacks, and the search of all that was kept meanwhile for what they could have carried off."""
    done = trial.tests("tests/hostile", HOSTILE_ALSO=",".join(LIMITS), seconds=_SECONDS)
    _add(claims, engine, "attacks", done.stdout)


def troubles(claims: Claims, engine: Engine) -> None:
    """One claim: workers, engines, Redis and disks that are killed or fail, on three nodes."""
    _add(claims, engine.name, "faults", faults(engine, seconds=_SECONDS).stdout)


def _add(claims: Claims, engine: str, kind: str, told: str) -> None:
    (ROOT / f"{kind}-{engine}.log").write_text(told)  # beside the nodes' logs, but for longer than these
    last = (told.strip().splitlines() or ["nothing"])[-1].strip("= ")
    broken = re.findall(r"^(?:FAILED|ERROR) \S+::(.+)", told, re.MULTILINE)
    is_whole = " passed" in last and " skipped" not in last
    claims.add(f"{engine}: the short list of {kind}", "; ".join([last, *broken])[:600], is_whole and not broken)

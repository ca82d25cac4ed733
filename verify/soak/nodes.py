"""The processes that do the builds of a soak, and what they complained about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from testkit.builds import terminate
from verify.soak.rooms import NODE, Rooms

NODES, SLOTS = 2, 6
_END_SECONDS = 40.0
# An answer that came late is no complaint.
_USUAL = frozenset({"leases_in_doubt"})


@contextmanager
def node(own: Rooms, number: int) -> Iterator[subprocess.Popen[bytes]]:
    """A node, for the length of the block; it ends with this process, however that ends."""
    environment = {
        **os.environ,
        "BUILDFARM_NODE_ID": f"soak-{number}",
        "BUILDFARM_SLOTS": str(SLOTS),
        "BUILDFARM_WORKSPACE_DIRECTORY": str(own.folder / "nodes"),
        "BUILDFARM_DRAIN_SECONDS": "20",
        "BUILDFARM_LOG_FORMAT": "json",
        "BUILDFARM_LOG_LEVEL": "info",
    }
    command = ["setpriv", "--pdeathsig", "TERM", sys.executable, "-W", "ignore", "-m", NODE, own.name]
    with _log(own.folder, number).open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        terminate(process, _END_SECONDS)


def complaints(folder: Path) -> tuple[Counter[str], dict[str, str]]:
    """What nodes logged as a warning or worse: how often, and the first of each."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for number in range(NODES):
        for line in _log(folder, number).read_text(errors="replace").splitlines():
            event = _complaint(line)
            if event and event not in _USUAL:
                counts[event] += 1
                first.setdefault(event, line[:600])
    return counts, first


def _complaint(line: str) -> str:
    found: object = None
    with suppress(ValueError):
        found = json.loads(line)
    if not isinstance(found, dict):
        return "not a log line" if line.strip() else ""
    return str(found.get("event")) if found.get("level") not in {"info", "debug"} else ""


def _log(folder: Path, number: int) -> Path:
    return folder / f"node-{number}.log"

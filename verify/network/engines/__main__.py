"""``make verify-engines``: a table of engines and claims; names of engines on the command line choose some of them.

PARTS=main,prune,hostile,faults chooses what is tried.
"""

from __future__ import annotations

import os
import subprocess
import sys

from testkit.cluster.engines import ENGINES, Engine
from testkit.table import Claims
from verify.network.engines import main_job, prune, short_lists
from verify.network.engines.node import Trial, open_trial

_PARTS = "main,prune,hostile,faults"


def main() -> None:
    """All engines, or those that are named."""
    parts = os.environ.get("PARTS", _PARTS).split(",")
    claims = Claims("The farm on today's engines")
    for engine in [ENGINES[name] for name in sys.argv[1:] or ENGINES]:
        try:
            if set(parts) - {"faults"}:
                with open_trial(engine) as trial:
                    _tell(claims, engine, trial, parts)
            if "faults" in parts:
                short_lists.troubles(claims, engine)
        except (RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
            claims.add(f"{engine.name}: can be tried", str(error)[-300:], holds=False)
    claims.finish()


def _tell(claims: Claims, engine: Engine, trial: Trial, parts: list[str]) -> None:
    claims.add(f"{engine.name}: the node starts and proves its sandboxes", main_job.version(trial), holds=True)
    if "main" in parts:
        main_job.tell(claims, engine.name, trial)
    if "prune" in parts:
        prune.tell(claims, engine.name, trial)
    if "hostile" in parts:
        short_lists.attacks(claims, engine.name, trial)


if __name__ == "__main__":
    main()

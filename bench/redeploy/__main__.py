"""Runs the parts and judges them."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from bench.redeploy.apps import APPS, measure_app
from bench.redeploy.deploys import ROOT, Bench, code_before
from bench.redeploy.elsewhere import measure_elsewhere
from bench.redeploy.growth import measure_growth
from bench.redeploy.together import AT_ONCE, measure_together
from bench.redeploy.usage import measure_usage
from testkit.builds import farm_with_node
from testkit.table import Claims

RESULTS = ROOT / "bench" / "results" / "redeploy.json"
ROUNDS = 7
PARTS = {
    **{app.name: measure_app(app) for app in APPS},
    "together": measure_together,
    "elsewhere": measure_elsewhere,
    "growth": measure_growth,
    "usage": measure_usage,
}


def main(rounds: int, wanted: list[str]) -> None:
    """Print the claims; exit with 1 if one falls short. ``wanted`` names parts, none means all."""
    if unknown := set(wanted) - PARTS.keys():
        sys.exit(f"APPS names {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}.")
    claims = Claims("Redeploy")
    with ExitStack() as stack:
        code = code_before(stack)
        bench = Bench(
            folder=Path(stack.enter_context(tempfile.TemporaryDirectory())),
            ours=stack.enter_context(farm_with_node("redeploy", BUILDFARM_SLOTS=str(AT_ONCE))),
            before=stack.enter_context(farm_with_node("redeploy", code=code, BUILDFARM_SLOTS=str(AT_ONCE))),
            code_before=code,
            rounds=rounds,
            claims=claims,
        )
        figures = {name: measure(bench) for name, measure in PARTS.items() if not wanted or name in wanted}
    _write(rounds, figures)
    claims.finish()


def _write(rounds: int, figures: Mapping[str, object]) -> None:
    """Each part interleaves its ways, so a run of some parts replaces these alone, on the same machine."""
    machine = {
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept = before if (before.get("machine"), before.get("rounds")) == (machine, rounds) else {}
    RESULTS.write_text(json.dumps({**kept, "machine": machine, "rounds": rounds, **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if sys.argv[1:] else ROUNDS,
        [part for part in os.environ.get("APPS", "").split(",") if part],
    )

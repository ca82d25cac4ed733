"""What signatures and provenance cost a redeploy: ``python -m bench.signing [ROUNDS]`` on a farm that is up.

Two farms, each with one node: one signs, with a signer in a process of its own. A round is a one-line change of
examples/python on each, in turn, so that both see the same load of the machine. Each deploy waits until the machine is
idle: else it would share the processors with the other farm's node, which replaces its sandbox after a build.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.redeploy.apps import SMALL
from bench.redeploy.deploys import ROOT, Source, copy_of
from testkit.builds import Builds, build_node, farm_alone
from testkit.queue.idle import wait_until_idle
from testkit.queue.signing import make_key, signer_process
from testkit.table import Claims

RESULTS = ROOT / "bench" / "results" / "signing.json"
ROUNDS = 40
WARM_UP = 3  # deploys before the first round: caches, connections and pools are filled
MOST_MS = 40.0


def main(rounds: int) -> None:
    """Print the claim, and write the figures; exit with 1 if it falls short."""
    claims = Claims("Signing")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        farms = {name: farm(stack, folder, signs=name == "on") for name in ("off", "on")}
        sources = {name: copy_of(SMALL, folder / name) for name in farms}
        for _ in range(WARM_UP):
            for name, built in farms.items():
                own_ms(sources[name], built)
        times: dict[str, list[float]] = {name: [] for name in farms}
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            for name in (*farms,) if number % 2 else (*reversed(farms),):
                times[name].append(own_ms(sources[name], farms[name]))
    judge(claims, times)
    RESULTS.write_text(json.dumps({"processors": os.cpu_count(), "rounds": rounds, "own_ms": times}, indent=2) + "\n")
    claims.finish()


def farm(stack: ExitStack, folder: Path, *, signs: bool) -> Builds:
    """A farm with one node, and with a signer if it signs."""
    signing = "1" if signs else "0"
    alone = stack.enter_context(farm_alone(f"signing-{signing}", signing=signing))
    if signs:
        stack.enter_context(signer_process(alone, [make_key(folder)]))
    return Builds(alone, stack.enter_context(build_node(alone, BUILDFARM_SIGNING=signing)))


def own_ms(source: Source, built: Builds) -> float:
    """A redeploy's milliseconds without detect and compile."""
    wait_until_idle()
    return source.deploy(built, "signed").own_seconds * 1000


def judge(claims: Claims, times: dict[str, list[float]]) -> None:
    """The median of the differences within a round: what else the machine does changes slower than that."""
    more = [on - off for on, off in zip(times["on"], times["off"], strict=True)]
    found = statistics.median(more)
    low, _, high = statistics.quantiles(more, n=4)
    medians = {name: statistics.median(of) for name, of in times.items()}
    figure = (
        f"{found:+.0f} ms (half of {len(more)} rounds from {low:+.0f} to {high:+.0f}): "
        f"{medians['on']:.0f} against {medians['off']:.0f} ms"
    )
    claims.add(
        f"small app: signatures and provenance add at most {MOST_MS:.0f} ms to the farm's own time",
        figure,
        found <= MOST_MS,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else ROUNDS)

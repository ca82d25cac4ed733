"""What offers to the node of an app's last success bring and cost: on simulated nodes, with them and without."""

from __future__ import annotations

import signal
import statistics
import time
from typing import Any

from testkit.queue.farm import request
from testkit.queue.redeploys import Redeploy, first_builds, redeploys, two_nodes

APPS, ROUNDS_OF_APPS = 10, 5
SLOTS = 2
LOAD, LOAD_TENANTS, LOAD_SECONDS = 500, 25, 0.02
WITHOUT = {"BUILDFARM_OFFER_SECONDS": "0"}


def offer_figures(rounds: int) -> dict[str, Any]:
    """All of it, each kind in turns."""
    found: dict[str, list[Redeploy]] = {"on": [], "off": [], "dead": []}
    times: dict[str, list[float]] = {"on": [], "off": []}
    for _ in range(rounds):
        for name, variables in (("on", {}), ("off", WITHOUT)):
            found[name] += idle(**variables)
            times[name].append(load(**variables))
        found["dead"] += dead()
    ratios = [on / off for on, off in zip(times["on"], times["off"], strict=True)]
    rate = LOAD / statistics.median(times["on"])
    return {
        **{name: _told(builds) for name, builds in found.items()},
        "load": {"ratios": ratios, "builds": LOAD, "builds_per_second": rate},
    }


def idle(**variables: str) -> list[Redeploy]:
    """Redeploys one after the other while nothing else runs."""
    with two_nodes(SLOTS, seconds=0, **variables) as (farm, _):
        last = first_builds(farm, APPS)
        return [build for _ in range(ROUNDS_OF_APPS) for build in redeploys(farm, last)]


def dead() -> list[Redeploy]:
    """The first redeploys after a node was killed of the apps that were on it."""
    with two_nodes(SLOTS) as (farm, nodes):
        last = first_builds(farm, APPS)
        gone = next(iter(last.values()))
        nodes[gone].kill()
        nodes[gone].wait()  # its connections are closed now: Redis hands it no ordinary message
        return list(redeploys(farm, {app: where for app, where in last.items() if where == gone}))


def load(**variables: str) -> float:
    """Seconds in which busy nodes build again what they have built; every build waits before the first starts."""
    with two_nodes(SLOTS, seconds=LOAD_SECONDS, **variables) as (farm, nodes):
        for number in range(2):
            for process in nodes.values():
                process.send_signal(signal.SIGSTOP)
            ids = [
                farm.submit(request(f"t{build % LOAD_TENANTS}", f"app-{build // LOAD_TENANTS}", cached_result=False)).id
                for build in range(LOAD)
            ]
            started = time.monotonic()
            for process in nodes.values():
                process.send_signal(signal.SIGCONT)
            for build_id in reversed(ids):
                farm.wait(build_id, timeout_seconds=120)
            if number:
                return time.monotonic() - started
    raise AssertionError


def _told(builds: list[Redeploy]) -> dict[str, Any]:
    waits = [build.wait_seconds * 1000 for build in builds]
    return {
        "builds": len(builds),
        "share": sum(build.node == build.last for build in builds) / len(builds),
        "median_ms": statistics.median(waits),
        "worst_ms": max(waits),
    }

"""``make hostile``: every attack on a real node of the running farm, as a table; ends with 1 where one gets through.

All are tried twice: on a node that makes each sandbox for its build, and on one with a sandbox pool, where the app's
cache was left by a hostile build. Words on the command line choose attacks by their names; RUN=1 and RUN=2 one half.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from testkit.table import Claims
from tests.hostile import (
    api_attacks,  # noqa: F401
    cache_attacks,  # noqa: F401
    canary,  # noqa: F401
    code_attacks,  # noqa: F401
    large_caches,
    link_attacks,
    log_flood,
    long_paths,
    neighbours,
    others,  # noqa: F401
    sources,  # noqa: F401
    storage_attacks,  # noqa: F401
)
from tests.hostile.arena import Arena, open_arena
from tests.hostile.attack import ATTACKS, Attack

# Which half of the run: what the node is like, and whether each app has a hostile build's cache
HALVES = {
    "1": ("no pool", {"BUILDFARM_WARM_SANDBOXES": "0"}, False),
    "2": ("pool and a hostile cache", {"BUILDFARM_WARM_SANDBOXES": "2"}, True),
}


def main() -> None:
    # What is set up must be taken away, also where whoever runs this is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted = sys.argv[1:]
    claims = Claims("Hostile code stays in its sandbox")
    attacks = [attack for attack in ATTACKS if not wanted or any(word in attack.name for word in wanted)]
    for name in os.environ.get("RUN", "12") if attacks else ():
        title, variables, haunted = HALVES[name]
        with open_arena(haunted=haunted, **variables) as arena:
            _try_all(arena, attacks, claims, title)
    _measure(wanted, claims)
    claims.finish()


def _try_all(arena: Arena, attacks: list[Attack], claims: Claims, title: str) -> None:
    for attack in attacks:
        started = time.monotonic()
        try:
            outcome, holds = attack.run(arena)
        except Exception as error:  # noqa: BLE001 - an attack that cannot be tried is one that was not refused
            outcome, holds = f"{type(error).__name__}: {error}"[:200], False
        wrong = arena.is_as_before()
        figure = f"{outcome}{'; ' + wrong if wrong else ''} ({time.monotonic() - started:.0f} s)"
        claims.add(f"{title}: {attack.name}: {attack.promise}", figure, holds and not wrong)
    searched, watched = link_attacks.searched(arena), link_attacks.watched(arena)
    claims.add(f"{title}: the canaries are in no blob that came into the registry meanwhile", *searched)
    claims.add(f"{title}: the node reaches a build's files by its one door alone", *watched)


def _measure(wanted: list[str], claims: Claims) -> None:
    """Attacks that need limits of their own, or that take from others."""
    if not wanted or "neighbours" in wanted:
        # A busy machine must not turn a slow neighbour into a silent one.
        with open_arena(BUILDFARM_SILENCE_SECONDS="120", BUILDFARM_BUILD_SECONDS="300") as arena:
            neighbours.measure(arena, claims)
    if not wanted or "paths" in wanted:
        with open_arena(**long_paths.VARIABLES) as arena:
            long_paths.measure(arena, claims)
    if not wanted or "large caches" in wanted:
        for number in (0, 2):
            with open_arena(**large_caches.VARIABLES, BUILDFARM_WARM_SANDBOXES=str(number)) as arena:
                large_caches.measure(arena, claims)
    if not wanted or "log flood" in wanted:
        log_flood.measure(claims)


if __name__ == "__main__":
    main()

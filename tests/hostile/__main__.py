"""``make hostile``: every attack on a real node of the running farm, as a table; ends with 1 where one gets through."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import nullcontext

from testkit.table import Claims
from tests.hostile import (
    api_attacks,  # noqa: F401
    canary,  # noqa: F401
    code_attacks,  # noqa: F401
    link_attacks,
    log_flood,
    long_paths,
    neighbours,
    others,  # noqa: F401
    sources,  # noqa: F401
)
from tests.hostile.arena import open_arena
from tests.hostile.attack import ATTACKS


def main() -> None:
    # What is set up must be taken away, also where whoever runs this is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted = sys.argv[1:]
    claims = Claims("Hostile code stays in its sandbox")
    attacks = [attack for attack in ATTACKS if not wanted or any(word in attack.name for word in wanted)]
    with open_arena() if attacks else nullcontext() as arena:
        for attack in attacks:
            started = time.monotonic()
            try:
                outcome, holds = attack.run(arena)
            except Exception as error:  # noqa: BLE001 - an attack that cannot be tried is one that was not refused
                outcome, holds = f"{type(error).__name__}: {error}"[:200], False
            wrong = arena.is_as_before()
            figure = f"{outcome}{'; ' + wrong if wrong else ''} ({time.monotonic() - started:.0f} s)"
            claims.add(f"{attack.name}: {attack.promise}", figure, holds and not wrong)
        if arena is not None:
            searched, watched = link_attacks.searched(arena), link_attacks.watched(arena)
            claims.add("the canaries are in no blob that came into the registry meanwhile", *searched)
            claims.add("the node reaches a build's files by its one door alone", *watched)
    if not wanted or "neighbours" in wanted:
        # A busy machine must not turn a slow neighbour into a silent one.
        with open_arena(BUILDFARM_SILENCE_SECONDS="120", BUILDFARM_BUILD_SECONDS="300") as arena:
            neighbours.measure(arena, claims)
    if not wanted or "paths" in wanted:
        with open_arena(**long_paths.VARIABLES) as arena:
            long_paths.measure(arena, claims)
    if not wanted or "log flood" in wanted:
        log_flood.measure(claims)
    claims.finish()


if __name__ == "__main__":
    main()

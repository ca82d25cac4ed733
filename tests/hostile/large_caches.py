"""A cache of as many files as a workspace may have: the next builds of the app, and of another one."""

from __future__ import annotations

import time

from buildfarm.model import State
from testkit.table import Claims
from tests.hostile.arena import MIB, Arena
from tests.hostile.cache_attacks import leave

FILES = 400_000 - 1_000  # with their folders no more than a listing takes
VARIABLES = {
    "BUILDFARM_WORKSPACE_INODES": str(2 * FILES + 50_000),
    "BUILDFARM_WORKSPACE_BYTES": str(2048 * MIB),
    "BUILDFARM_CACHE_BYTES": str(1024 * MIB),
    "BUILDFARM_BUILD_SECONDS": "300",
    "BUILDFARM_SILENCE_SECONDS": "200",
}
MANY = f"""
python3 - <<'EOF'
import os
for number in range({FILES}):
    if number % 1000 == 0:
        os.makedirs(f"/cache/many/{{number // 1000}}")
    os.close(os.open(f"/cache/many/{{number // 1000}}/{{number}}", os.O_CREAT | os.O_WRONLY))
EOF
"""
COUNT = 'echo "COUNTED $(find /cache/many -type f | wc -l)"; rm -rf /cache/many/7; echo x >/cache/many/8/8000'


def measure(arena: Arena, claims: Claims) -> None:
    """Claims for what the next builds find, and what another app's build takes meanwhile."""
    leave(arena, "many", MANY)
    small = arena.source({"index.html": "x"})
    alone = arena.ended(arena.submit(small, "beside-many"))
    started = time.monotonic()
    build, beside = arena.script(COUNT, app="many"), arena.submit(small, "beside-many", cached_result=False)
    ended = arena.ended(build)
    seconds = time.monotonic() - started
    found = f"COUNTED {FILES}" in arena.text(ended)
    claims.add(
        f"a cache of {FILES:,} files: the app's next build finds them all",
        f"{ended.state} in attempt {ended.attempt}, {seconds:.0f} s",
        found and ended.state is State.SUCCEEDED and ended.attempt == 1,
    )
    other = arena.ended(beside)
    holds = alone.state is other.state is State.SUCCEEDED and other.attempt == 1
    claims.add("the build of another app beside it succeeds", f"{other.state} in attempt {other.attempt}", holds)
    wrong = arena.is_as_before(60)  # the cache is packed and sent first
    claims.add("the node afterwards builds and is clean", wrong or "it is", not wrong)

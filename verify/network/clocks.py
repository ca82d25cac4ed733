"""A build node whose clock jumps by hours, there and back, under its builds (libfaketime)."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path

from buildfarm.model import Build, Phase, State
from localfarm.packages import ensure_packages
from testkit.builds import EXAMPLES, Builds, build_node, farm_alone, wait_for, write_files
from testkit.table import Claims

JUMPS_SECONDS = (3600, -7200, 0)
_SLOW = {"package.json": '{"scripts": {"build": "sleep 15"}}', "Procfile": "web: true\n"}
_LONGEST_SECONDS = 300.0
# libfaketime 0.9.10 makes a negative time of what Python's sleep asks for, where it leaves the monotonic clock alone.
_SLEEP = """
extern long syscall(long, ...);
extern int *__errno_location(void);
int clock_nanosleep(int clock, int flags, const void *time, void *left) {
#ifdef __x86_64__
  return syscall(230, clock, flags, time, left) ? *__errno_location() : 0;
#else
  return syscall(115, clock, flags, time, left) ? *__errno_location() : 0;
#endif
}
"""


def tell(claims: Claims) -> None:
    """Builds under which the clock jumps, and builds after it."""
    with tempfile.TemporaryDirectory() as folder, farm_alone("clocks") as farm:
        clock = Path(folder) / "clock"
        clock.write_text("+0\n")
        with build_node(farm, code=None, constants=None, **_faked(clock)) as node:
            builds = Builds(farm, node)
            first = builds(EXAMPLES / "python", "example")
            under = [
                _build_under(builds, write_files(Path(folder) / "app", _SLOW), clock, jump) for jump in JUMPS_SECONDS
            ]
            ahead = _most_ahead(node.log.read_text())
            after = builds(EXAMPLES / "python", "example", cached_result=False)
    found = [first, *under, after]
    once = sum(build.state is State.SUCCEEDED and build.attempt == 1 for build in found)
    jumps = ", ".join(f"{jump:+,} s" for jump in JUMPS_SECONDS)
    claims.add("the node's own log has the other time", f"{ahead:,.0f} s ahead", ahead > JUMPS_SECONDS[0] / 2)
    claims.add(f"a node's clock jumps to {jumps} of the right time: every build succeeds in its first attempt",
               f"{once} of {len(found)}", once == len(found))  # fmt: skip
    longest = max(_seconds(build) for build in found)
    claims.add("no record tells of times that were not", f"the longest build took {longest:.0f} s by its record",
               all(0 <= _seconds(build) <= _LONGEST_SECONDS for build in found))  # fmt: skip
    same = bool(first.result and after.result and first.result.digest == after.result.digest)
    claims.add("the image is the same before and after", "the same digest" if same else "another digest", same)


def _faked(clock: Path) -> dict[str, str]:
    """Variables that give a process another clock; what counts seconds goes on, as with a real clock that is set."""
    ensure_packages({"faketime": "faketime", "gcc": "gcc"}, print)
    listed = subprocess.run(["dpkg", "-L", "libfaketime"], check=True, capture_output=True, text=True).stdout.split()
    library = next(path for path in listed if path.endswith("/libfaketimeMT.so.1"))
    sleep = clock.with_name("sleep.so")
    make = ["gcc", "-shared", "-nostdlib", "-fPIC", "-o", str(sleep), "-x", "c", "-"]
    subprocess.run(make, check=True, input=_SLEEP, text=True)
    return {
        "LD_PRELOAD": f"{sleep}:{library}", "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
    }  # fmt: skip


def _build_under(builds: Builds, folder: Path, clock: Path, jump_seconds: int) -> Build:
    source, _ = builds.farm.pack(folder, builds.tenant)
    build_id = builds.submit(source=source, app="slow", cached_result=False)
    wait_for(lambda: builds.farm.get(build_id).phase is Phase.COMPILE, 120)
    clock.write_text(f"{jump_seconds:+d}\n")
    time.sleep(1)  # for the node to see it
    return builds.ended(build_id)


def _most_ahead(log: str) -> float:
    """By how many seconds the newest time in a node's log is ahead of now."""
    times = [json.loads(line)["timestamp"] for line in log.splitlines() if line.startswith("{")]
    return datetime.fromisoformat(max(times)).timestamp() - time.time()


def _seconds(build: Build) -> float:
    return (build.finished_at or 0) - (build.started_at or 0)

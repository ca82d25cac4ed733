"""Trees that would fill a worker's memory: how far it grows, and whether a neighbour's build goes on."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path

from buildfarm.model import Build, State
from testkit.table import Claims
from tests.hostile.arena import MIB, Arena

GROWTH_MAX_BYTES = 256 * MIB
ENTRIES = int(os.environ.get("HOSTILE_ENTRIES", "400000"))
PATH_BYTES = 4000
NAME_BYTES = 254
# For a node where nothing else stops such a build.
VARIABLES = {
    "BUILDFARM_WORKSPACE_INODES": str(ENTRIES + 50_000),
    "BUILDFARM_WORKSPACE_BYTES": str(1024 * MIB),
    "BUILDFARM_BUILD_SECONDS": "300",
    "BUILDFARM_SILENCE_SECONDS": "200",
}
# As many nested folders as the path's length takes, and empty files in the innermost one.
MANY_PATHS = f"""
cat >/tmp/fill.py <<'EOF'
import os, sys
os.chdir(sys.argv[1])
for _ in range({PATH_BYTES // (NAME_BYTES + 1)}):
    os.mkdir("d" * {NAME_BYTES})
    os.chdir("d" * {NAME_BYTES})
for number in range(int(sys.argv[2])):
    os.close(os.open(f"{{number:0>{PATH_BYTES % (NAME_BYTES + 1)}}}", os.O_CREAT | os.O_WRONLY))
EOF
"""
# Builds until the attacker has ended, and so beside all that the worker does with the attacker's tree.
NEIGHBOUR = "until curl -sf {url} >/dev/null; do echo building; sleep 0.5; done"


def measure(arena: Arena, claims: Claims) -> None:
    """Claims for /app after compile, the cache, and the source; a neighbour builds meanwhile."""
    fill = f"{MANY_PATHS}\npython3 /tmp/fill.py"
    _write_archive(arena.web_root / "paths.tar.gz", 20_000)  # of 80 MB, more than any tree may have
    idle_bytes = _memory_bytes(arena, "VmRSS")

    def judge(what: str, attacker: Build, code: str, event: str = "") -> None:
        told = _attack(arena, claims, what, attacker, code=code, event=event)
        grown_bytes = _memory_bytes(arena, "VmHWM") - idle_bytes
        claims.add(
            f"{what} with paths of {PATH_BYTES:,} bytes: the worker grows by at most {GROWTH_MAX_BYTES // MIB} MiB",
            f"{grown_bytes / MIB:.0f} MiB; {told[:110]}",
            grown_bytes <= GROWTH_MAX_BYTES,
        )

    judge("a cache", arena.script(f"{fill} /cache {ENTRIES} || exit 1", app="paths-cache"), "", "cache_too_large")
    judge("bin/compile", arena.script(f"{fill} /app {ENTRIES} || exit 1", app="paths"), "app.too_large")
    judge("a source archive", arena.archive("paths.tar.gz", app="paths-source"), "app.too_large")
    wrong = arena.is_as_before()
    claims.add("the node after all trees builds and is clean", wrong or "it is", not wrong)


def _attack(arena: Arena, claims: Claims, what: str, attacker: Build, *, code: str, event: str) -> str:
    """How the attacker's build ends, and that its neighbour's is not touched; ``event`` ends the node's part in it."""
    mark = arena.web_root / f"{attacker.id}-ended"
    neighbour = arena.script(NEIGHBOUR.format(url=f"{arena.web}/{mark.name}"), app="neighbour")
    ended = arena.ended(attacker)
    _wait_for(arena, event)
    mark.touch()
    beside = arena.ended(neighbour)
    found = ended.failure.code if ended.failure else ""
    told = f"{found}: {ended.failure.message}" if ended.failure else f"{ended.state}, {event}"
    figure = f"{found or ended.state} in attempt {ended.attempt}"
    claims.add(f"{what}: decided in the first attempt", figure, (found, ended.attempt) == (code, 1))
    holds = beside.state is State.SUCCEEDED and beside.attempt == 1
    claims.add(f"{what}: a neighbour's build succeeds", f"{beside.state} in attempt {beside.attempt}", holds)
    return told


def _wait_for(arena: Arena, event: str) -> None:
    deadline = time.monotonic() + 60
    while event not in arena.log_file.read_text():
        assert time.monotonic() < deadline, f"the node did not log {event}"
        time.sleep(0.1)


def _memory_bytes(arena: Arena, name: str) -> int:
    """Resident memory of the node's process, now (VmRSS) or at its peak so far (VmHWM); see proc(5)."""
    status = Path(f"/proc/{arena.process.pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith(name)))


def _write_archive(target: Path, entries: int) -> None:
    folder = "source/" + f"{'d' * NAME_BYTES}/" * (PATH_BYTES // (NAME_BYTES + 1))
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        # What compresses too well is refused for that.
        padding = tarfile.TarInfo("source/padding")
        padding.size = 2 * MIB
        archive.addfile(padding, io.BytesIO(os.urandom(padding.size)))
        for number in range(entries):
            archive.addfile(tarfile.TarInfo(f"{folder}{number:0>{PATH_BYTES % (NAME_BYTES + 1)}}"), io.BytesIO())

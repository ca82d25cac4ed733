"""A 6 GiB build on a large node while standard ones go on: ``python -m verify.queue.sizes`` on a farm's services."""

from __future__ import annotations

import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from buildfarm.errors import RequestError
from buildfarm.farm import open_farm
from buildfarm.model import State
from testkit.builds import Builds, build_node, farm_alone, wait_for, write_files
from testkit.table import Claims

GIB = 1024**3
SIZE = "memory:6GiB/cpus:2/disk:8GiB/seconds:600"
NODE: dict[str, Any] = {"BUILDFARM_SIZES": f"large={SIZE}", "BUILDFARM_TENANT_SIZES": "standard,large"}
LARGE: dict[str, Any] = {
    "BUILDFARM_NODE_SIZES": "large",
    "BUILDFARM_NODE_MEMORY_BYTES": str(6 * GIB),
    "BUILDFARM_SLOTS": "2",
}
NEEDED_GIB = 5
SECONDS = 20
# Every page is touched: memory that is only reserved does not count.
_TOUCH = f"x = bytearray({NEEDED_GIB} << 30); x[::4096] = bytes(len(x) // 4096)"
NEED = f"python3 -c 'import time; {_TOUCH}; time.sleep({SECONDS})'"


def app(directory: Path, script: str) -> Path:
    """An app that its own buildpack builds with this script."""
    files = {"bin/detect": "#!/bin/sh\necho own\n", "bin/compile": f"#!/bin/sh\nset -e\n{script}\n"}
    write_files(directory, files)
    for name in files:
        (directory / name).chmod(0o755)
    return directory


def main() -> None:
    """Two nodes, one of each size."""
    claims = Claims("Sizes of builds")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        alone = stack.enter_context(farm_alone("sizes"))
        changes = {"sizes": {"large": SIZE}, "tenant_sizes": frozenset({"standard", "large"})}
        farm = stack.enter_context(open_farm(alone.settings.model_copy(update=changes)))
        standard = stack.enter_context(build_node(farm, **NODE))
        builds = Builds(farm, standard)
        refused(claims, builds, folder)
        large = stack.enter_context(build_node(farm, **NODE, **LARGE))
        beside(claims, builds, folder, large.id)
    claims.finish()


def refused(claims: Claims, builds: Builds, folder: Path) -> None:
    """No node serves large builds yet."""
    try:
        builds(app(folder / "early", "true"), "early", size="large")
    except RequestError as error:
        claims.add(
            "a size that no node serves is refused at submit", error.message, "serves the size large" in error.message
        )
    else:
        claims.add("a size that no node serves is refused at submit", "accepted", False)


def beside(claims: Claims, builds: Builds, folder: Path, large: str) -> None:
    """The same build in both sizes, and standard ones beside the large one."""
    need = app(folder / "need", NEED)
    failed = builds(need, "need")
    advice = failed.failure.advice if failed.failure else "none"
    claims.add(
        f"a build of {NEEDED_GIB} GiB fails as standard, and names the next size", advice, "--size large" in advice
    )

    source, _ = builds.farm.pack(need, builds.tenant)
    first, second = (builds.submit(source=source, app=name, size="large") for name in ("need", "need2"))
    wait_for(lambda: builds.farm.get(first).state is State.RUNNING, 30)
    most, ended = 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not ended.wait(0.2):
            [count] = [node.busy for node in builds.farm.nodes() if node.id == large]
            most = max(most, count)

    looking = threading.Thread(target=look)
    looking.start()
    quick = app(folder / "quick", "true")
    seconds: list[float] = []
    while builds.farm.get(first).state is State.RUNNING and len(seconds) < 8:
        started = time.monotonic()
        done = builds(quick, f"quick{len(seconds)}")
        seconds.append(time.monotonic() - started if done.state is State.SUCCEEDED else 1e9)
    done_beside = builds.farm.get(first).state is State.RUNNING
    one, two = builds.ended(first), builds.ended(second)
    ended.set()
    looking.join()
    figure = f"{one.state} on {'the large node' if one.node == large else one.node}"
    claims.add("the same build succeeds with --size large", figure, one.state is State.SUCCEEDED and one.node == large)
    figure = f"{len(seconds)} builds, the slowest {max(seconds):.1f} s from submit to end"
    claims.add("standard builds go on meanwhile, each within 15 s", figure, done_beside and max(seconds) < 15)
    figure = f"{most} at once, the second {two.state}"
    claims.add(
        "a node of 6 GiB and two slots runs one of two large builds", figure, most == 1 and two.state is State.SUCCEEDED
    )


if __name__ == "__main__":
    main()

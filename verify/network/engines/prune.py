"""``docker system prune --all`` and worse, on an idle and on a busy node: the node brings back what it needs."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from buildfarm.model import Phase
from testkit.builds import promised
from testkit.cluster.cluster import wait_for_node
from testkit.cluster.shell import wait
from testkit.table import Claims
from verify.network.engines.node import Trial

PULLED_SECONDS = 240.0  # a gigabyte, on a busy machine
REPAIRED_SECONDS = 20.0
_BUILD_SECONDS = 15  # of the busy node's


def tell(claims: Claims, engine: str, trial: Trial) -> None:
    """Idle, idle with a build at once, and busy."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page"
        page.mkdir()
        (page / "index.html").write_text("hello\n")
        slow = Path(folder) / "slow"
        slow.mkdir()
        script = f"sleep {_BUILD_SECONDS}"
        (slow / "package.json").write_text(json.dumps({"scripts": {"build": script}}))
        (slow / "Procfile").write_text("web: true\n")
        pulled, ready = _repaired(trial)
        figure = f"network and builder are back after {pulled:.1f} s, and sandboxes {ready:.1f} s after these"
        claims.add(f"{engine}: pruned while it is idle", figure, ready <= promised(REPAIRED_SECONDS))
        _prune(trial)
        started = time.monotonic()
        build = trial.ended(trial.submit(page, "page"))
        figure = f"attempt {build.attempt} succeeds after {time.monotonic() - started:.1f} s"
        claims.add(f"{engine}: a build right after the prune", figure, build.attempt == 1)
        running = trial.submit(slow, "slow")
        wait(lambda: trial.farm.get(running).phase is Phase.COMPILE, "it does not compile", 60)
        trial.machine.docker("system", "prune", "--all", "--force")
        build = trial.ended(running)
        after = trial.ended(trial.submit(page, "page"))
        figure = f"attempts {build.attempt} and {after.attempt} succeed"
        claims.add(f"{engine}: pruned under a build, and another after it", figure, build.attempt == after.attempt == 1)


def _repaired(trial: Trial) -> tuple[float, float]:
    """Seconds until the node has its network and has pulled its builder, which is the line's and the disk's; and then
    until a sandbox waits.
    """
    _prune(trial)
    builder = f"{trial.farm.registry.host}/{trial.farm.builder()}"

    def there() -> bool:
        images = trial.machine.docker("images", "--digests", "--format={{.Repository}}@{{.Digest}}").split()
        return builder in images and bool(trial.networks())

    pulled = wait(there, "the node does not pull its builder again", PULLED_SECONDS)
    started = time.monotonic()
    wait(lambda: bool(trial.machine.sandboxes()), "the node makes no sandbox", 120)
    wait_for_node(trial.farm, trial.machine, lambda node: node.accepting)
    return pulled, time.monotonic() - started


def _prune(trial: Trial) -> None:
    """Nothing is left on the engine: sandboxes that wait keep the builder and the network otherwise."""
    wait(lambda: bool(trial.machine.sandboxes()), "no sandbox waits", 60)
    trial.machine.docker("rm", "--force", *trial.machine.sandboxes())
    trial.machine.docker("system", "prune", "--all", "--force")

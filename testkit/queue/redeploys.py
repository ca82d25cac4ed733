"""Apps that are built again and again on simulated nodes: where each build lands, and how long it waits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from subprocess import Popen

from buildfarm.farm import Farm
from buildfarm.model import Build
from testkit.queue.farm import fresh_farm, node, request

NAMES = ("one", "two")


@dataclass(frozen=True)
class Redeploy:
    """A build of an app that was built before."""

    app: str
    last: str  # the node of the build before
    node: str
    wait_seconds: float  # from submit to claim, by Redis's clock


def built(farm: Farm, tenant: str, app: str) -> Build:
    """A build of this app, ended."""
    return farm.wait(farm.submit(request(tenant, app, cached_result=False)).id, timeout_seconds=60)


def redeploys(
    farm: Farm, last: dict[str, str], tenant: str = "again", *, ready: Callable[[str], object] = str
) -> Iterable[Redeploy]:
    """Builds each of these apps once more, one after the other; ``last`` is where each was built, and is kept right.

    ``ready`` is called with the app's last node before each build. In random order: two idle nodes take messages in
    turns, and would give each app of an even number its node again.
    """
    for app, before in random.sample(list(last.items()), len(last)):
        ready(before)
        build = built(farm, tenant, app)
        last[app] = build.node or ""
        yield Redeploy(app, before, last[app], (build.started_at or 0) - build.submitted_at)


@contextmanager
def two_nodes(slots: int, seconds: float = 0, **variables: str) -> Iterator[tuple[Farm, dict[str, Popen[bytes]]]]:
    """A farm of two simulated nodes that both have built something: the farm, and the processes by the nodes' names."""
    with fresh_farm() as farm, ExitStack() as stack:
        nodes = {
            name: stack.enter_context(node(farm, slots, seconds, BUILDFARM_NODE_ID=name, **variables)) for name in NAMES
        }
        deadline = time.monotonic() + 60
        apps = (f"start-{number}" for number in count())
        while {built(farm, "start", next(apps)).node for _ in NAMES} != set(NAMES):
            if time.monotonic() > deadline:
                raise TimeoutError("a simulated node takes no builds")
        yield farm, nodes


def first_builds(farm: Farm, apps_count: int, tenant: str = "again") -> dict[str, str]:
    """Builds so many apps for the first time, and says on which node each was."""
    apps = [f"app-{number}" for number in range(apps_count)]
    return {app: built(farm, tenant, app).node or "" for app in apps}

"""What the API's process does with pushes, for tests that do it in its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from buildfarm.access import Rates
from buildfarm.api.metrics import ApiMetrics
from buildfarm.api.webhooks.delivery import make_deliveries
from buildfarm.api.webhooks.pushes.door import Door
from buildfarm.api.webhooks.pushes.work import PushWork, make_push_work
from buildfarm.farm import Farm
from buildfarm.model import Build, BuildResult
from buildfarm.oci.digest import Digest
from buildfarm.sources.pushes.hook import HookView
from buildfarm.store import Lease, Leases
from testkit.archive import FAILURE
from testkit.queue.pushes import Json, encoded, signed


def door_of(farm: Farm) -> Door:
    """Where deliveries come in."""
    return Door(farm, Rates(farm.database), ApiMetrics())


def take(door: Door, made: HookView, payload: Json) -> str:
    """One delivery to a hook, signed with its secret."""
    body = encoded(payload)
    headers = {name.lower(): text for name, text in signed("github", made.secret or "", body).items()}
    return door.take(door.admit(made.id, "127.0.0.1"), headers, body, "127.0.0.1").result


def work_of(farm: Farm, **settings: Any) -> PushWork:
    """What is done for hooks beside it."""
    farm = replace(farm, settings=farm.settings.model_copy(update={"api_builds_per_minute": 1000, **settings}))
    return make_push_work(make_deliveries(farm, ApiMetrics()))


def turns(work: PushWork) -> None:
    """All that is due now is done."""
    while due := work.deliveries.webhooks.due():
        for one in due:
            work.deliver(one)


def builds(farm: Farm, app: str) -> list[Build]:
    """An app's builds, the newest first."""
    return farm.recent(100, tenant="shop", app=app)


def end(farm: Farm, build_id: str, *, failed: bool = False, digest: str = f"sha256:{'a' * 64}") -> None:
    """A node takes the build, and it ends."""
    leases = Leases(farm.admission, 60, 3)
    lease = leases.claim(build_id, "node")
    assert isinstance(lease, Lease), lease
    if failed:
        leases.fail(lease, FAILURE)
        return
    target = farm.get(build_id).request.target
    result = BuildResult(
        repository=target, digest=Digest(digest), tag="latest", layers=(), uploaded_bytes=0, phase_seconds={},
        node="node", attempt=1,
    )  # fmt: skip
    leases.publish(lease, target, result)
    leases.succeed(lease, result)

"""A farm as it is after a year: thousands of apps, and builds of which most are in the archive."""

from __future__ import annotations

import hashlib
import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from buildfarm.access import Scope, Tokens
from buildfarm.farm import Farm
from buildfarm.model import Build, BuildRequest, BuildResult, Layer, Phase, Request, RunPolicy, UsedBuildpack
from buildfarm.oci.digest import Digest
from buildfarm.releases.facts.components.store import ComponentStore
from buildfarm.releases.facts.layer import COMPONENTS_VERSION
from buildfarm.store import Database, Lease
from testkit.archive import FAILURE, SOURCE, Life
from testkit.observability.rollout import seed_rollout

BUILDS_OF_ONE = 60  # more than a page of an app has
LIVE = 0.05  # of the other builds; the rest is in the archive
_DAY = 86400
_WRITES = 5000  # of one round to Redis
_TENANTS = 100  # that the apps beside the two belong to


@dataclass(frozen=True)
class Many:
    """What there is to visit: an app whose builds are in Redis, and one whose builds are in the archive."""

    tenant: str
    live: str
    archived: str
    builds: tuple[Build, ...]  # of the first, the newest first
    archived_build: str  # the newest of the second that made an image
    rollout: str  # of all apps


def seed(farm: Farm, apps: int, builds: int) -> Many:
    """Fill the farm: two apps with real builds, the others by copies of their records, as the scripts write them."""
    life, chance = Life(farm), random.Random(0)
    for number in range(BUILDS_OF_ONE):
        _build(life, "archived", number, chance)
    life.archive()
    for number in range(BUILDS_OF_ONE):
        _build(life, "web", number, chance)
    found = farm.recent(BUILDS_OF_ONE, tenant=life.tenant, app="web")
    _copy(farm, next(build for build in found if build.result), apps, builds, chance)
    _contain(farm, life.tenant)
    old = next(build.id for build in farm.recent(10, tenant=life.tenant, app="archived") if build.result)
    rollout = seed_rollout(farm, [f"{life.tenant}/web", *(_name(number) for number in range(apps))])
    return Many(life.tenant, "web", "archived", tuple(found), old, rollout)


def _build(life: Life, app: str, number: int, chance: random.Random) -> None:
    request = BuildRequest(tenant=life.tenant, app=app, source=SOURCE, run_policy=RunPolicy.ALL, cached_result=False)
    lease = life.leases.claim(life.farm.submit(request).id, "node-1")
    assert isinstance(lease, Lease), lease
    if number % 7 == 3:
        life.leases.fail(lease, FAILURE)
        return
    result = _result(life.tenant, app, number, chance)
    life.leases.publish(lease, f"apps/{life.tenant}/{app}", result)
    life.leases.succeed(lease, result)


def _result(tenant: str, app: str, number: int, chance: random.Random) -> BuildResult:
    sizes = {
        "builder": 90_000_000,
        "node_modules": 40_000_000 + number // 20 * 25_000_000,
        "app": 400_000 + number * 9000,
    }
    layers = [_layer(origin, size, "" if origin == "builder" else str(number)) for origin, size in sizes.items()]
    seconds = {Phase.PREPARE: 0.2, Phase.DETECT: 0.1, Phase.COMPILE: 8 + 12 * chance.random() + number / 4}
    seconds |= {Phase.EXPORT: 0.5 + chance.random(), Phase.PUBLISH: 0.1}
    version = f"{20 + number // 20}.1"
    buildpack = UsedBuildpack(
        name="nodejs", kind="classic", source="bundled", digest=Digest.of(version.encode()), version=version
    )
    return BuildResult(
        repository=f"apps/{tenant}/{app}", digest=Digest.of(f"{app} {number}".encode()), tag="latest",
        layers=tuple(layers), process_types={"web": "node server.js"}, buildpacks=(buildpack,), uploaded_bytes=500_000,
        phase_seconds=seconds, node="node-1", attempt=1,
    )  # fmt: skip


def _layer(origin: str, size: int, content: str) -> Layer:
    digest = Digest.of(f"{origin} {content}".encode())
    return Layer(digest=digest, diff_id=digest, size_bytes=size, uncompressed_bytes=3 * size, origin=origin)


def _copy(farm: Farm, model: Build, apps: int, builds: int, chance: random.Random) -> None:
    """Other apps: what lists read of each, records of their newest builds, and where the others are."""
    record: dict[str, Any] = dict(farm.database.client.hgetall(farm.database.key("build", model.id)))  # type: ignore[arg-type]
    now = farm.database.now()
    for numbers in _batches(range(builds), _WRITES):
        pipeline = farm.database.client.pipeline(transaction=False)
        for number in numbers:
            app = number % apps
            at = now - 400 * _DAY * (1 - number / builds)
            tenant, _, name = _name(app).partition("/")
            copy = _Copy(farm.database, tenant, name, _hex(f"build {number}")[:16], at)
            if number >= builds * (1 - LIVE):
                copy.write_record(pipeline, record, model.request)
            else:
                pipeline.hset(copy.bucket, copy.build_id, f"{copy.place} {int(at)}")
            state = "failed" if number % 9 == 0 else "succeeded"
            copy.write_app(pipeline, f"{state} {10 + 20 * chance.random():.2f} {100_000_000 + 9 * number}")
        pipeline.execute()


def _name(app: int) -> str:
    return f"tenant-{app % _TENANTS}/app-{app}"


def _contain(farm: Farm, tenant: str) -> None:
    """Components of both apps' newest images, on a base: with a long path, and a version that cannot be compared."""
    store, base = ComponentStore(farm.database), f"builder@sha256:{'b' * 64}"
    deep = "app/" + "node_modules/@a-long-scope/a-package/" * 6
    rows = [("app/node_modules/lodash/", "4.17.20"), (deep, "4.17.19-a-long-prerelease.1"), ("app/x/", "next")]
    files = {f"{path}package.json": [["npm", "lodash", version, "MIT", ""]] for path, version in rows}
    told = {"version": COMPONENTS_VERSION, "files": files, "removed": [], "unread": {"app/bin/x": "it is damaged"}}
    layer = Digest.of(b"components")
    store.put(layer, zlib.compress(json.dumps(told, separators=(",", ":")).encode()), of_base=False)
    for app in ("web", "archived"):
        digest = farm.records.tag_target(f"apps/{tenant}/{app}") or ""
        store.note_image(f"apps/{tenant}/{app}", digest, base, [layer])
    store.note_image(base, f"sha256:{'b' * 64}", "", [layer])


@dataclass(frozen=True)
class _Copy:
    """A build that is like another one, as scripts write it."""

    database: Database
    tenant: str
    app: str
    build_id: str
    at: float

    @property
    def place(self) -> str:
        return f"{self.tenant}/{self.app}"

    @property
    def bucket(self) -> str:
        """As in scripts/_archived.lua."""
        name = hashlib.sha1(self.build_id.encode(), usedforsecurity=False).hexdigest()
        return self.database.key("archived", str(int(name[:8], 16) % 4096))

    def write_record(self, pipeline: Any, record: dict[str, Any], request: Request) -> None:
        own = request.model_copy(update={"tenant": self.tenant, "app": self.app}).model_dump_json()
        told = {"id": self.build_id, "request": own, "place": f"{self.tenant} {self.app}", "submitted_at": self.at}
        pipeline.hset(
            self.database.key("build", self.build_id), mapping={**record, **told, "finished_at": self.at + 20}
        )
        for index in (("app", self.place), ("builds",), ("builds", self.tenant)):
            pipeline.zadd(self.database.key(*index), {self.build_id: self.at})

    def write_app(self, pipeline: Any, ending: str) -> None:
        """As in scripts/_apps.lua."""
        key, digest = self.database.key, _hex(self.build_id)
        for index in (("apps",), ("apps", self.tenant)):
            pipeline.zadd(key(*index), {self.place: self.at}, gt=True)
        pipeline.lpush(key("trend", self.place), f"{self.build_id} {ending}")
        pipeline.ltrim(key("trend", self.place), 0, 19)
        field = f"{digest[3:16]} {self.tenant}"
        pipeline.hset(key("images", str(int(digest[:3], 16))), field, f"{self.build_id} {int(self.at / _DAY)}")
        pipeline.hset(key("tags"), f"apps/{self.place}", f"sha256:{digest}")


def _hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _batches(numbers: range, size: int) -> Iterator[list[int]]:
    rest = iter(numbers)
    while batch := list(islice(rest, size)):
        yield batch


def pages_of(many: Many) -> dict[str, str]:
    """The path of each page that shows apps, builds or settings."""
    made = [build for build in many.builds if build.result]
    digest = made[3].result.digest.hex if made[3].result else ""
    return {
        "apps": "/apps",
        "app": f"/apps/{many.tenant}/{many.live}",
        "app-archived": f"/apps/{many.tenant}/{many.archived}",
        "compare": f"/compare?a={made[30].id}&b={made[0].id}",
        "search": "/search?q=app-12",
        "search-image": f"/search?q={digest[:14]}",
        "where": "/where?q=npm/lodash%40%3C4.17.21",
        "limits": f"/limits?owner={many.tenant}",
        "retention": "/retention",
        "tokens": "/tokens",
        "rollouts": "/rollouts",
        "rollout": f"/rollouts/{many.rollout}",
        "credentials": f"/apps/{many.tenant}/{many.live}/credentials",
    }


def other_pages(many: Many, now: float) -> dict[str, str]:
    """Pages further into a list, of builds in one state, and of one build."""
    return {
        "apps-later": f"/apps?after={now - 39 * _DAY:.6f} x/x",  # most apps are above
        "builds": "/",
        "builds-failed": "/?state=failed",
        "builds-waiting": "/?state=queued",  # there are none: it looks as far as it ever does
        "app-failed": f"/?app={many.tenant}/{many.live}&state=failed",
        "build": f"/builds/{many.builds[0].id}",
        "build-archived": f"/builds/{many.archived_build}",
        "queue": "/queue",
        "nodes": "/nodes",
        "submit": "/submit",
    }


def set_something(farm: Farm) -> None:
    """Limits, a policy and a token of many tenants, as the pages of settings show them."""
    for number in range(_TENANTS):
        tenant = f"tenant-{number}"
        farm.set_limits(tenant, running=number + 1)
        farm.set_retention(tenant, images=5.0)
        Tokens(farm.database).make(tenant, "ci", {Scope.READ}, 1)

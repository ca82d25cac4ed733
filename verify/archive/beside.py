"""Archiving and collection beside ten builds: ``python -m verify.archive.beside`` on a farm that is up.

Redis and the registry are separate ones. Ten apps are built again and again with a changed line, in pairs of windows:
in the second one, what the two windows before it left is archived and collected beside the builds. Each window begins
on an idle machine.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.farm import Farm
from buildfarm.gc.storage import Storage
from buildfarm.model import Build, State
from buildfarm.oci.registry import Registry
from buildfarm.settings import read_settings
from buildfarm.store import Nodes
from buildfarm.store.archive.audit.keeper import AuditKeeper
from buildfarm.store.archive.audit.parts import AuditParts
from buildfarm.store.keeping.collections import Collections
from buildfarm.telemetry import logger
from testkit.archive import Life
from testkit.builds import EXAMPLES, Builds, build_node, farm_alone
from testkit.queue.duties import HOLDER, others_duties
from testkit.queue.idle import wait_until_idle
from testkit.registry.own import registry_on, storage_folder
from testkit.registry.reading import read_builder
from testkit.table import Claims
from verify.queue.small_redis import small_redis
from workers.upkeep.archiving import Archiving, rests_seconds
from workers.upkeep.collection import Collection

APPS, PAIRS = 10, 6
WAVES = 8  # of a window: how often each app is built
TURNS_MAX = 6  # of the archive: until then it has done what two windows left
LOOK_SECONDS, COLLECT_SECONDS_MAX = 1.0, 120.0  # a node looks every five seconds
RATIO_MAX = 1.05
_AGED_SECONDS = 90_000
_DUTIES = {"archivist": 60.0, "sweeper": 2.0}  # this process has them: the node is not to do the work, too
_RETAIN = {
    "retain_images": 1, "retain_image_days": 0, "retain_sources": 0, "retain_source_days": 0,
    "retain_records": 0, "retain_record_days": 0, "collect_every_seconds": 1e-3,
}  # fmt: skip


@dataclass(frozen=True)
class Times:
    """Mean seconds of a window's builds: the farm's own, and all from submit to end."""

    own: float
    whole: float


@dataclass
class Chores:
    """What a node does about ended builds and about what nothing names."""

    life: Life
    storage: Storage
    ended: list[str] = field(default_factory=list)  # builds that are to be archived
    due: int = 0
    archived: int = 0
    freed: list[int] = field(default_factory=list)  # bytes, of each collection
    seconds: list[float] = field(default_factory=list)

    def age(self) -> None:
        """No build runs now: what is there is old enough to be collected. What is named stays, however old it is."""
        old = time.time() - _AGED_SECONDS
        for folder, _, names in os.walk(self.storage.root):
            for name in names:
                os.utime(Path(folder, name), (old, old))

    def do(self) -> None:
        """All of it, by a node's own code: both at once, as two jobs of a node may be."""
        began = time.monotonic()
        self.due += len(self.ended)
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(self._archive), pool.submit(self._collect)]:
                done.result()
        self.seconds.append(time.monotonic() - began)
        self.archived += sum(map(self._is_archived, self.ended))

    def _archive(self) -> None:
        """What had ended when this began; what ends meanwhile goes along with it."""
        farm, began = self.life.farm, time.monotonic()
        nodes, keeper = Nodes(farm.database), AuditKeeper(AuditParts(farm.database), farm.registry)
        pause, rests = threading.Event().wait, rests_seconds(read_settings().archive_seconds)
        archiving = Archiving(HOLDER, nodes, self.life.archivist, keeper, logger(), pause, rests)
        for _ in range(TURNS_MAX):
            if all(map(self._is_archived, self.ended)):
                return
            archiving.archivist.after_seconds = time.monotonic() - began
            archiving.turn()

    def _is_archived(self, build_id: str) -> bool:
        return self.life.catalog.where(build_id) is not None

    def _collect(self) -> None:
        farm = self.life.farm
        own = farm.settings.model_copy(update={**_RETAIN, "node_id": HOLDER, "registry_storage": self.storage.root})
        collections, failed = Collections(farm.database), threading.Event()
        job = Collection(own, self.storage, collections, failed.set, logger())
        before, until = collections.newest(), time.monotonic() + COLLECT_SECONDS_MAX
        while time.monotonic() < until and collections.newest() == before and not failed.wait(LOOK_SECONDS):
            job.look()
        job.close()
        newest = collections.newest()
        if newest is None or newest == before:
            raise RuntimeError("no collection ended")
        self.freed.append(newest.found["freed_bytes"])


def main() -> None:
    """Runs the windows, and prints the table."""
    claims = Claims("Archiving and collection beside ten builds")
    with services() as (farm, storage), tempfile.TemporaryDirectory() as folder:
        chores = Chores(Life(farm), storage)
        apps = [_app(Path(folder), number) for number in range(APPS)]
        own = {"BUILDFARM_REGISTRY_URL": farm.settings.registry_url, "BUILDFARM_BUILDER": "",
               "BUILDFARM_SLOTS": str(APPS), "BUILDFARM_ARCHIVE_SECONDS": "1e10"}  # fmt: skip
        with others_duties(farm.database, _DUTIES), build_node(farm, code=None, constants=None, **own) as node:
            builds = Builds(farm, node)
            chores.ended += _window(builds, apps, "first")[1]
            pairs = [_pair(builds, apps, chores, number) for number in range(PAIRS)]
    _judge(claims, pairs, chores)
    is_done = chores.archived == chores.due == 2 * PAIRS * WAVES * APPS and len(chores.freed) == PAIRS
    done = (
        f"{chores.archived} builds archived, {sum(chores.freed) / 1e6:.1f} MB freed in {len(chores.freed)} collections"
    )
    claims.add("everything was archived and collected", done, is_done and min(chores.freed) > 0)
    claims.finish()


def _judge(claims: Claims, pairs: list[tuple[Times, Times]], chores: Chores) -> None:
    ratios = sorted(beside.own / alone.own for alone, beside in pairs)
    ratio = sum(beside.own for _, beside in pairs) / sum(alone.own for alone, _ in pairs)
    whole = sum(beside.whole for _, beside in pairs) / sum(alone.whole for alone, _ in pairs)
    figure = (
        f"x{ratio:.3f}, all of {PAIRS} pairs together (x{ratios[0]:.3f} to x{ratios[-1]:.3f}); x{whole:.3f} with "
        f"detect and compile. The work of {chores.due // PAIRS} builds took {statistics.median(chores.seconds):.1f} s"
    )
    claims.add("the farm's time of ten builds at once grows by at most 5 %", figure, ratio <= RATIO_MAX)


@contextmanager
def services() -> Iterator[tuple[Farm, Storage]]:
    """A farm on a Redis and a registry of its own, with the local farm's builder."""
    with ExitStack() as stack:
        url = stack.enter_context(small_redis("1gb", "--appendonly", "yes", "--appendfsync", "always"))
        folder = stack.enter_context(storage_folder())
        registry = stack.enter_context(registry_on(folder, read_settings().docker_url))
        with farm_alone("beside") as usual:
            builder = read_builder(usual)
            _copy(usual.registry, registry, usual.builder())
        os.environ["BUILDFARM_REDIS_URL"] = url
        own = {"registry_url": f"http://{registry.host}", "registry_storage": folder, "builder": ""}
        farm = stack.enter_context(farm_alone("beside", **own))
        farm.promote_builder(f"{builder.repository}@{builder.digest}")
        yield farm, Storage(folder)


def _copy(source: Registry, target: Registry, image: str) -> None:
    repository, _, digest = image.partition("@")
    manifest, _ = source.read_manifest(repository, digest)
    for part in (manifest.config, *manifest.layers):
        target.put_blob(repository, b"".join(source.get_blob(repository, part.digest, limit_bytes=part.size)))
    media_type, content, _ = source.get_manifest(repository, digest)
    target.put_manifest(repository, content, media_type, tag=None)


def _app(top: Path, number: int) -> Path:
    return Path(shutil.copytree(EXAMPLES / ("python", "static")[number % 2], top / f"app-{number}"))


def _pair(builds: Builds, apps: list[Path], chores: Chores, number: int) -> tuple[Times, Times]:
    """A window without the chores and then one with them, which are those of the two windows before it."""
    took = []
    for beside in (False, True):
        chores.age()
        wait_until_idle()
        with ThreadPoolExecutor(1) as pool:
            doing = pool.submit(chores.do) if beside else None
            times, ended = _window(builds, apps, f"{number} {beside}")
            if doing:
                doing.result()
                chores.ended.clear()
        chores.ended += ended
        took.append(times)
        print(f"pair {number + 1} of {PAIRS}: {'beside' if beside else 'alone'} {times}", flush=True)
    return took[0], took[1]


def _window(builds: Builds, apps: list[Path], change: str) -> tuple[Times, list[str]]:
    """Builds of these apps, all at once and then again; their times and ids. Raises RuntimeError if one fails."""
    ended = [build for wave in range(WAVES) for build in _wave(builds, apps, f"{change} {wave}")]
    lost = [f"{build.id}: {build.failure}" for build in ended if build.state is not State.SUCCEEDED]
    if lost:
        raise RuntimeError(f"not every build succeeded: {'; '.join(lost)}")
    return Times(
        statistics.fmean(build.result.farm_seconds for build in ended if build.result),
        statistics.fmean(build.finished_at - build.submitted_at for build in ended if build.finished_at),
    ), [build.id for build in ended]


def _wave(builds: Builds, apps: list[Path], change: str) -> list[Build]:
    begun = []
    for folder in apps:
        (folder / "changed.txt").write_text(change)
        source, _ = builds.farm.pack(folder, builds.tenant)
        begun.append(builds.submit(source=source, app=folder.name))
    return [builds.ended(build_id) for build_id in begun]


if __name__ == "__main__":
    main()

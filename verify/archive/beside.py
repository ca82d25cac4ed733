"""Archiving and collection beside ten builds: ``python -m verify.archive.beside`` on a farm that is up.

Redis and the registry are separate ones. Rounds alternate: in one, the archive and the collection work while ten apps
are built again with a changed line; in the other, they do the same work afterwards. Each begins on an idle machine.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from buildfarm.farm import Farm
from buildfarm.gc.choose import Rules
from buildfarm.gc.collect import Budget
from buildfarm.gc.farm_garbage import FarmGarbage
from buildfarm.gc.storage import Storage
from buildfarm.model import State
from buildfarm.oci.registry import Registry
from buildfarm.settings import read_settings
from testkit.archive import Life
from testkit.builds import EXAMPLES, Builds, build_node, farm_alone
from testkit.queue.duties import others_duties
from testkit.queue.idle import wait_until_idle
from testkit.registry.deployed import Deployed
from testkit.registry.own import registry_on, storage_folder
from testkit.registry.reading import read_builder
from testkit.table import Claims
from verify.archive.ended import end_builds
from verify.queue.small_redis import small_redis

APPS, PAIRS = 10, 8
# Twice what the ten builds themselves leave.
ENDED, IMAGES = 20, 20
RATIO_MAX = 1.05
_AGED_SECONDS = 90_000
_DUTY = {"archivist": 60.0}  # this process has it: the node is not to archive beside it
_CREATED = "2026-01-01T00:00:00Z"
_RULES = Rules(images=1, grace_seconds=7200)


@dataclass(frozen=True)
class Times:
    """Mean seconds of ten builds at once: the farm's own, and all from submit to end."""

    own: float
    whole: float


@dataclass
class Chores:
    """What a farm does about ended builds and images that nothing names."""

    farm: Farm
    storage: Storage
    rounds: int = 0
    archived: int = 0
    freed: int = 0

    def leave(self) -> None:
        """The work of a round."""
        self.rounds += 1
        end_builds(self.farm, ENDED, 1.6e9 + self.rounds * 3600)
        deployed = Deployed(self.farm)
        base = deployed.base(_CREATED)
        for number in range(IMAGES):  # ten apps, of which each deploy replaces the one before
            deployed.app(f"old/app-{number % 10}", base, label=f"{self.rounds} {number}")
        old = time.time() - _AGED_SECONDS  # no build runs now; what is named stays, however old it is
        for folder, _, names in os.walk(self.storage.root):
            for name in names:
                os.utime(Path(folder, name), (old, old))

    def do(self) -> None:
        """All of it."""
        self.archived += Life(self.farm).archive()
        garbage = FarmGarbage(self.farm.history, self.farm.settings, (self.farm.builder(),))
        self.freed += garbage.collect(self.storage, _RULES, Budget()).freed_bytes


def main() -> None:
    """Runs the rounds, and prints the table."""
    claims = Claims("Archiving and collection beside ten builds")
    with services() as (farm, storage), tempfile.TemporaryDirectory() as folder:
        chores = Chores(farm, storage)
        apps = [_app(Path(folder), number) for number in range(APPS)]
        own = {"BUILDFARM_REGISTRY_URL": farm.settings.registry_url, "BUILDFARM_BUILDER": "",
               "BUILDFARM_SLOTS": str(APPS), "BUILDFARM_ARCHIVE_SECONDS": "1e10"}  # fmt: skip
        with others_duties(farm.database, _DUTY), build_node(farm, code=None, constants=None, **own) as node:
            builds = Builds(farm, node)
            _times(builds, apps, "first")
            pairs = [_pair(builds, apps, chores, number) for number in range(PAIRS)]
    ratios = sorted(beside.own / alone.own for alone, beside in pairs)
    ratio = statistics.median(ratios)
    whole = statistics.median(beside.whole / alone.whole for alone, beside in pairs)
    figure = (
        f"x{ratio:.3f}, median of {PAIRS} pairs (x{ratios[1]:.3f} to x{ratios[-2]:.3f} without the outermost); "
        f"x{whole:.3f} with detect and compile, for the work of {ENDED} builds"
    )
    claims.add("the farm's time of ten builds at once grows by at most 5 %", figure, ratio <= RATIO_MAX)
    done = f"{chores.archived} builds archived, {chores.freed / 1e6:.1f} MB freed"
    claims.add("everything was archived and collected", done,
               chores.archived >= 2 * PAIRS * ENDED and chores.freed > 0)  # fmt: skip
    claims.finish()


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
    """Ten builds without and with the chores beside them, in turns the one or the other first."""
    took = {}
    for beside in (False, True) if number % 2 else (True, False):
        chores.leave()
        thread = threading.Thread(target=chores.do)
        wait_until_idle()
        if beside:
            thread.start()
        took[beside] = _times(builds, apps, f"{number} {beside}")
        if not beside:
            thread.start()
        thread.join()
    return took[False], took[True]


def _times(builds: Builds, apps: list[Path], change: str) -> Times:
    """These apps' builds, all at once. Raises RuntimeError if one of them fails."""
    begun = []
    for folder in apps:
        (folder / "changed.txt").write_text(change)
        source, _ = builds.farm.pack(folder, builds.tenant)
        begun.append(builds.submit(source=source, app=folder.name))
    ended = [builds.ended(build_id) for build_id in begun]
    lost = [f"{build.id}: {build.failure}" for build in ended if build.state is not State.SUCCEEDED]
    if lost:
        raise RuntimeError(f"not every build succeeded: {'; '.join(lost)}")
    return Times(
        statistics.fmean(build.result.farm_seconds for build in ended if build.result),
        statistics.fmean(build.finished_at - build.submitted_at for build in ended if build.finished_at),
    )


if __name__ == "__main__":
    main()

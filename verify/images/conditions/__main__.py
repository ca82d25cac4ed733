"""``python -m verify.images.conditions``: the database images under the conditions that people run them in, as a table.

It needs the images on the engine or in the farm's registry, where `make verify-images` has built them before.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from buildfarm.recipes.folder import CHECKOUT_RECIPES, find_recipes, slim_plan
from buildfarm.settings import read_settings
from testkit.cluster.shell import run
from testkit.table import Claims
from verify.images.conditions.databases import DATABASES, Database
from verify.images.conditions.neighbours import try_neighbours
from verify.images.conditions.passwords import try_addresses, try_passwords
from verify.images.conditions.power import try_power
from verify.images.conditions.server import Images
from verify.images.conditions.settings import (
    try_memory,
    try_settings,
    try_shared_memory,
    try_sorting,
    try_time_zones,
)
from verify.images.conditions.starts import try_full_disk, try_interrupted, try_terminated, try_unprotected
from verify.images.conditions.stops import try_stop
from verify.images.conditions.users import try_users
from verify.images.conditions.versions import try_backups, try_versions

STARTS, AT_ONCE = 100, 2
Trial = Callable[[Claims, Images, Database], None]
ALL: tuple[Callable[..., None], ...] = (
    try_users,
    try_passwords,
    try_unprotected,
    try_full_disk,
    try_versions,
    try_neighbours,
    try_backups,
    try_settings,
    try_stop,
    try_power,
    try_terminated,
)
SOME: dict[str, tuple[Callable[..., None], ...]] = {
    "redis": (try_memory,),
    "valkey": (try_memory,),
    "postgresql": (try_shared_memory, try_sorting),
    "mysql": (try_addresses, try_time_zones),
    "mongodb": (),
}


class Table(Claims):
    """Rows of databases that were tried at the same time, one database after the other."""

    def finish(self) -> None:
        self._rows.sort(key=lambda row: row[0].partition(":")[0])
        super().finish()


def main() -> None:
    options = arguments()
    images, claims = Images(options.images), Table("Database images under the conditions people run them in")
    wanted = [database for database in DATABASES if database.name in options.only]
    with ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(partial(try_database, options, claims, images), wanted))
    claims.finish()


def try_database(options: argparse.Namespace, claims: Claims, images: Images, database: Database) -> None:
    """Every trial of one database; one that cannot be brought to its end falls short."""
    names = [images.name(database, version) for version in (database.version, database.older) if version]
    if missing := [name for name in names if not images.has(name)]:
        claims.add(f"{database.title}: its images", f"none is called {', '.join(missing)}", False)
        return
    trials: dict[str, Trial] = {trial.__name__: trial for trial in (*ALL, *SOME[database.name], size)}
    if options.starts:
        trials["try_interrupted"] = partial(try_interrupted, count=options.starts)
    for name in (name for name in trials if options.trial in name):
        try:
            trials[name](claims, images, database)
        except (AssertionError, OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
            claims.add(f"{database.title}: {name}", f"{type(error).__name__}: {error}"[-600:], False)


def arguments() -> argparse.Namespace:
    """Which images, which trials, and how many interrupted starts."""
    registry = read_settings().registry_url.partition("://")[2]
    names = [database.name for database in DATABASES]
    parser = argparse.ArgumentParser(prog="python -m verify.images.conditions", description=__doc__)
    parser.add_argument("--images", default=f"{registry}/images/", help="what stands before NAME:VERSION")
    parser.add_argument("--only", nargs="*", default=names, choices=names, help="these databases alone")
    parser.add_argument("--trial", default="", help="only trials with this in their names")
    parser.add_argument("--starts", type=int, default=STARTS, help="interrupted first starts per image; 0 for none")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="databases that are tried at the same time")
    return parser.parse_args()


def size(claims: Claims, images: Images, database: Database) -> None:
    """What the engine says of the files, beside the recipe's budget."""
    if database.image:  # it has more than the recipe's
        return
    plan = slim_plan(find_recipes(CHECKOUT_RECIPES)[database.name], database.version)
    found = int(run("docker", "image", "inspect", "--format={{.Size}}", images.name(database))) / 1e6
    budget = plan.budget.uncompressed_mb
    claims.add(f"{database.title}: size", f"{found:.1f} MB of {budget:g}", found <= budget)


if __name__ == "__main__":
    main()

"""``python -m verify.images.conditions``: the database images under the conditions that people run them in, as a table.

It needs the images on the engine or in the farm's registry, where `make verify-images` has built them before.
"""

from __future__ import annotations

import argparse

from buildfarm.recipes.folder import CHECKOUT_RECIPES, find_recipes, slim_plan
from buildfarm.settings import read_settings
from testkit.cluster.shell import run
from testkit.table import Claims
from verify.images.conditions.databases import DATABASES, Database
from verify.images.conditions.passwords import try_addresses, try_passwords
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

STARTS = 100
ALL = (
    try_users,
    try_passwords,
    try_unprotected,
    try_full_disk,
    try_versions,
    try_backups,
    try_settings,
    try_stop,
    try_terminated,
)
SOME = {
    "redis": (try_memory,),
    "valkey": (try_memory,),
    "postgresql": (try_shared_memory, try_sorting),
    "mysql": (try_addresses, try_time_zones),
}


def main() -> None:
    options = arguments()
    images, claims = Images(options.images), Claims("Database images under the conditions people run them in")
    for database in DATABASES:
        if database.name in options.only:
            for trial in (*ALL, *SOME[database.name], size):
                if options.trial in trial.__name__:
                    trial(claims, images, database)
            if options.starts:
                try_interrupted(claims, images, database, options.starts)
    claims.finish()


def arguments() -> argparse.Namespace:
    """Which images, which trials, and how many interrupted starts."""
    registry = read_settings().registry_url.partition("://")[2]
    names = [database.name for database in DATABASES]
    parser = argparse.ArgumentParser(prog="python -m verify.images.conditions", description=__doc__)
    parser.add_argument("--images", default=f"{registry}/images/", help="what stands before NAME:VERSION")
    parser.add_argument("--only", nargs="*", default=names, choices=names, help="these databases alone")
    parser.add_argument("--trial", default="", help="only trials with this in their names")
    parser.add_argument("--starts", type=int, default=STARTS, help="interrupted first starts per image; 0 for none")
    return parser.parse_args()


def size(claims: Claims, images: Images, database: Database) -> None:
    """What the engine says of the files, beside the recipe's budget."""
    plan = slim_plan(find_recipes(CHECKOUT_RECIPES)[database.name], database.version)
    found = int(run("docker", "image", "inspect", "--format={{.Size}}", images.name(database))) / 1e6
    budget = plan.budget.uncompressed_mb
    claims.add(f"{database.title}: size", f"{found:.1f} MB of {budget:g}", found <= budget)


if __name__ == "__main__":
    main()

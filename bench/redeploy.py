"""A one-line change, from the folder to the image: ``python -m bench.redeploy [ROUNDS]`` on a farm that is up.

Every round builds each app once in each way, in turn: this farm, the version before (BEFORE in the environment names a
commit), and BuildKit of the same engine with a cached Dockerfile. The whole operation counts: packing the folder,
submit, queue, build, and the tag in the registry. Figures go to bench/results/redeploy.json.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.buildkit import BuildKit, certificates
from bench.measure import spread
from buildfarm.model import Build, Phase, State
from testkit.builds import Builds, farm_with_node
from testkit.registry.reading import read_builder
from testkit.table import Claims

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "redeploy.json"
BEFORE = "2a4c2bb"  # the commit before redeploys were looked at as a whole
ROUNDS = 7
AT_ONCE, APPS_AT_ONCE, REDEPLOYS = 2, 8, 40


@dataclass(frozen=True)
class App:
    """An app whose one file ``code`` changes in every round."""

    name: str
    folder: Path
    code: str = "app.py"
    dockerfile: str = ""  # without one, BuildKit is not compared


APPS = (
    App("small", ROOT / "examples" / "python", dockerfile="python.Dockerfile"),
    App("science", ROOT / "bench" / "apps" / "science", dockerfile="python.Dockerfile"),
    App("copied", ROOT / "bench" / "apps" / "copied"),
)


@dataclass
class Times:
    """Seconds of one app in one way."""

    first: float = 0
    whole: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)  # all but detect and compile; none for BuildKit
    command: list[float] = field(default_factory=list)  # with the command line, process start to exit


Results = dict[str, dict[str, Times]]  # app, then way


def main(rounds: int) -> None:
    claims = Claims("Redeploy")
    with ExitStack() as stack:
        folders = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ways = {
            "ours": stack.enter_context(farm_with_node("redeploy", BUILDFARM_SLOTS=str(AT_ONCE))),
            "before": stack.enter_context(
                farm_with_node("redeploy", code=_before(stack), BUILDFARM_SLOTS=str(AT_ONCE))
            ),
        }
        results: Results = {}
        for app in APPS:
            folder = folders / app.name
            shutil.copytree(app.folder, folder)
            results[app.name] = _rounds(app, folder, ways, rounds)
        together = _back_to_back(folders, ways["ours"])
    _judge(claims, results, together)
    _write(results, together)
    claims.finish()


def _rounds(app: App, folder: Path, ways: dict[str, Builds], rounds: int) -> dict[str, Times]:
    """The first deploy and the redeploys of one app, each way once in each round."""
    times = {name: Times() for name in (*ways, *(["buildkit"] if app.dockerfile else []))}
    with ExitStack() as stack:
        farm = ways["ours"].farm
        rival = BuildKit(farm.registry, read_builder(farm).image, app.dockerfile, certificates())
        stack.callback(rival.clean)
        for number in range(rounds + 1):
            for way, seen in times.items():
                print(f"{app.name}: {way}, round {number}", flush=True)
                _change(folder / app.code)
                if way == "buildkit":
                    started = time.monotonic()
                    rival.build(folder)
                    whole = time.monotonic() - started
                else:
                    whole, own = _deploy(ways[way], folder, app.name)
                    if number:
                        seen.own.append(own)
                if number:
                    seen.whole.append(whole)
                else:
                    seen.first = whole
            if number:
                _change(folder / app.code)
                times["ours"].command.append(_command(ways["ours"], folder, app.name))
    return times


def _deploy(built: Builds, folder: Path, app: str) -> tuple[float, float]:
    """Seconds of the whole, and of all but detect and compile."""
    started = time.monotonic()
    build = built(folder, app)
    seconds = time.monotonic() - started
    assert build.state is State.SUCCEEDED, built.log(build)
    return seconds, seconds - _apps_own(build)


def _apps_own(build: Build) -> float:
    assert build.result is not None
    return sum(build.result.phase_seconds[name] for name in (Phase.DETECT, Phase.COMPILE))


def _command(built: Builds, folder: Path, app: str) -> float:
    """Seconds of ``buildfarm build``, process start to exit."""
    settings = built.farm.settings
    environment = {**os.environ, "BUILDFARM_NAMESPACE": settings.namespace}
    command = [str(Path(sys.executable).parent / "buildfarm"), "build", str(folder), "--app", f"{built.tenant}/{app}"]
    started = time.monotonic()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.monotonic() - started


def _back_to_back(folders: Path, built: Builds) -> list[float]:
    """Seconds of each of many redeploys of some copies of the small app, two at once and without a pause."""
    copies = []
    for number in range(APPS_AT_ONCE):
        copy = folders / f"copy-{number}"
        shutil.copytree(APPS[0].folder, copy)
        _change(copy / APPS[0].code)
        _deploy(built, copy, copy.name)
        copies.append(copy)

    def redeploy(number: int) -> float:
        copy = copies[number % APPS_AT_ONCE]
        _change(copy / APPS[0].code)
        return _deploy(built, copy, copy.name)[0]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(redeploy, range(REDEPLOYS)))


def _judge(claims: Claims, results: Results, together: list[float]) -> None:
    small, science, copied = (results[name] for name in ("small", "science", "copied"))
    own = small["ours"].own
    claims.add("small app: the farm's own time at most 0.25 s", spread(own), statistics.median(own) <= 0.25)
    _against(claims, "small app: whole redeploy at most 2.5x of BuildKit's", small, "buildkit", 2.5)
    _against(claims, "390 MB app: whole redeploy at most 2.2x of BuildKit's", science, "buildkit", 2.2)
    whole = science["ours"].whole
    claims.add("390 MB app: whole redeploy at most 0.40 s", spread(whole), statistics.median(whole) <= 0.40)
    command = science["ours"].command
    claims.add("390 MB app: with the command line at most 0.8 s", spread(command), statistics.median(command) <= 0.8)
    again = copied["ours"].whole
    claims.add("400 MB copied from the cache: at most 1.5 s", spread(again), statistics.median(again) <= 1.5)
    ratio = statistics.median(together) / statistics.median(small["ours"].whole)
    claims.add(
        f"{REDEPLOYS} redeploys of {APPS_AT_ONCE} apps, {AT_ONCE} at once: median at most 1.5x of one alone",
        f"{ratio:.2f}x, {spread(together)}",
        ratio <= 1.5,
    )
    for name, ways in results.items():
        ratio = ways["ours"].first / ways["before"].first
        claims.add(f"{name}: first deploy at most 1.05x of the version before", f"{ratio:.2f}x", ratio <= 1.05)


def _against(claims: Claims, claim: str, ways: dict[str, Times], rival: str, most: float) -> None:
    """Ratios are taken within a round."""
    ratios = [own / other for own, other in zip(ways["ours"].whole, ways[rival].whole, strict=True)]
    figure = f"{spread(ratios, 'x')}: {spread(ways['ours'].whole)} against {spread(ways[rival].whole)}"
    claims.add(claim, figure, statistics.median(ratios) <= most)


def _write(results: Results, together: list[float]) -> None:
    content = {
        "machine": {"processors": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        "apps": {app: {way: asdict(times) for way, times in ways.items()} for app, ways in results.items()},
        "back_to_back": together,
    }
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")


def _change(file: Path) -> None:
    """One line more that no build has seen."""
    file.write_text(f"{file.read_text()}# {uuid.uuid4().hex}\n")


def _before(stack: ExitStack) -> Path:
    """The code of the version before, in a folder of its commit."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "before"
    commit = os.environ.get("BEFORE", BEFORE)
    subprocess.run(
        ["git", "worktree", "add", "--detach", str(folder), commit], cwd=ROOT, check=True, capture_output=True
    )
    stack.callback(subprocess.run, ["git", "worktree", "remove", "--force", str(folder)], cwd=ROOT, check=True)
    return folder


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else ROUNDS)

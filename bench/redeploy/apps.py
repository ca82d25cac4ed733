"""Redeploys of one app in turn: this farm, the version before, and BuildKit."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict

from bench.buildkit import BuildKit, certificates
from bench.measure import spread
from bench.redeploy.deploys import APP_FOLDERS, ROOT, App, Bench, Source, Times, copy_of, run_command
from testkit.builds import Builds
from testkit.registry.reading import read_builder
from testkit.table import Claims

BUILDKIT = "buildkit"

SMALL = App("small", ROOT / "examples" / "python", firsts=7, dockerfile="python.Dockerfile")
SCIENCE = App("science", APP_FOLDERS / "science", dockerfile="python.Dockerfile")
COPIED = App("copied", APP_FOLDERS / "copied")
VITE = App("vite", APP_FOLDERS / "vite", code="src/main.jsx", line='console.log("{}")')
APPS = (SMALL, SCIENCE, COPIED, VITE)

Ways = dict[str, Times]


def measure_app(app: App) -> Callable[[Bench], dict[str, object]]:
    """The part of the bench that measures this app."""

    def measure(bench: Bench) -> dict[str, object]:
        source = copy_of(app, bench.folder / app.name)
        ways = {name: Times() for name in (*bench.farms, *([BUILDKIT] if app.dockerfile else []))}
        _first_deploys(bench, source, ways)
        _redeploys(bench, source, ways)
        _judge(bench.claims, app, ways)
        return {way: asdict(times) for way, times in ways.items()}

    return measure


def _first_deploys(bench: Bench, source: Source, ways: Ways) -> None:
    """Under some names, of which the last one is then redeployed."""
    for number in range(source.app.firsts):
        for way, built in bench.farms.items():
            print(f"{source.app.name}: {way}, first deploy {number + 1}", flush=True)
            name = source.app.name if number == source.app.firsts - 1 else f"{source.app.name}-{number}"
            ways[way].first.append(source.deploy(built, name).seconds)


def _redeploys(bench: Bench, source: Source, ways: Ways) -> None:
    """Each way once in each round; BuildKit's first build fills its cache."""
    app, farm, bytecode = source.app, bench.ours.farm, bench.folder / "bytecode"
    run_command(bench.ours, source.folder, f"{app.name}-bytecode", bytecode)  # of another app: nothing is built ahead
    with ExitStack() as stack:
        rival = BuildKit(farm.registry, read_builder(farm).image, app.dockerfile, certificates())
        if app.dockerfile:
            stack.callback(rival.clean)
            ways[BUILDKIT].first.append(_by_buildkit(rival, source))
        for number in range(bench.rounds):
            for way, times in ways.items():
                print(f"{app.name}: {way}, round {number + 1}", flush=True)
                if way == BUILDKIT:
                    times.whole.append(_by_buildkit(rival, source))
                else:
                    _redeploy(bench.farms[way], source, times)
            source.change()
            ways["ours"].add(run_command(bench.ours, source.folder, app.name, bytecode))


def _redeploy(built: Builds, source: Source, times: Times) -> None:
    done = source.deploy(built, source.app.name)
    times.whole.append(done.seconds)
    times.own.append(done.own_seconds)
    if found := re.search(r"SCRIPT_SECONDS ([0-9.]+)", built.log(done.build)):
        times.beside.append(done.seconds - float(found[1]))


def _by_buildkit(rival: BuildKit, source: Source) -> float:
    source.change()
    started = time.monotonic()
    rival.build(source.folder)
    return time.monotonic() - started


def _judge(claims: Claims, app: App, ways: Ways) -> None:
    ours = ways["ours"]
    match app.name:
        case SMALL.name:
            _at_most(claims, "small app: the farm's own time", ours.own, 0.25)
            _against(claims, "small app: whole redeploy", ways, 2.5)
        case SCIENCE.name:
            _against(claims, "390 MB app: whole redeploy", ways, 2.2)
            _at_most(claims, "390 MB app: whole redeploy", ours.whole, 0.40)
            _with_command(claims, "390 MB app: with the command line", ours, 0.8)
        case COPIED.name:
            _at_most(claims, "400 MB copied from the cache: whole redeploy", ours.whole, 1.5)
        case VITE.name:
            _at_most(claims, "Vite app: time beside its own build script's", ours.beside, 0.5)
    ratio = statistics.median(ours.first) / statistics.median(ways["before"].first)
    figure = f"{ratio:.2f}x: {spread(ours.first)} against {spread(ways['before'].first)}"
    claims.add(f"{app.name}: first deploy at most 1.05x of the version before", figure, ratio <= 1.05)


def _at_most(claims: Claims, claim: str, seconds: list[float], most: float) -> None:
    holds = bool(seconds) and statistics.median(seconds) <= most
    claims.add(f"{claim} at most {most} s", spread(seconds) if seconds else "not measured", holds)


def _with_command(claims: Claims, claim: str, times: Times, most: float) -> None:
    """Where its time goes is in the figure: packing and sending the source are before the submit."""
    if not times.command:
        claims.add(f"{claim} at most {most} s", "not measured", False)
        return
    before, after = spread(times.command_before), spread(times.command_after)
    figure = f"{spread(times.command)}: {before} until the submit, {after} from the build's end on"
    claims.add(f"{claim} at most {most} s", figure, statistics.median(times.command) <= most)


def _against(claims: Claims, claim: str, ways: Ways, most: float) -> None:
    """Ratios are taken within a round."""
    own, other = ways["ours"].whole, ways[BUILDKIT].whole
    ratios = [one / another for one, another in zip(own, other, strict=True)]
    figure = f"{spread(ratios, 'x')}: {spread(own)} against {spread(other)}"
    claims.add(f"{claim} at most {most}x of BuildKit's", figure, statistics.median(ratios) <= most)

"""A test app from its source to its answer: built cold, queried, changed, built on its cache, built elsewhere.

Then each is built on the cache of another, which must change nothing.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.cli.plan import Plan, plan_of
from buildfarm.errors import BuildfarmError
from buildfarm.model import Build, BuildResult, Fault, Phase, State
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.manifest import ImageConfig, Manifest
from localfarm.waiting import wait_until
from testkit.apps.compile_times import CompileTime, time_scripts
from testkit.apps.samples import App
from testkit.builds import Builds
from workers.caches import TAG as CACHE

AGAIN_TRIES = 3
ANSWER_SECONDS = 30
CACHE_SECONDS = 4.0
PORT = 5007  # none that its own framework takes accord
TITLE = "org.opencontainers.image.title"  # the one thing in an image that names the app
# Folders of what an app depends on, which no build tool of the app's own writes into.
DEPENDENCIES = {
    ".apt",
    ".deno",
    ".jdk",
    ".node",
    ".python",
    ".ruby",
    ".venv",
    ".yarn",
    "local",
    "node_modules",
    "vendor",
}

_SHOWN = 400


class ShortError(Exception):
    """What came of an app is not what it promises; says what did."""


@dataclass
class Outcome:
    """What came of an app."""

    app: App
    cold: CompileTime | None = None
    again: CompileTime | None = None
    twice: str = ""  # what two builds have in common
    cache: str = ""  # whether it was kept: then the next build begins on a snapshot of it
    told: str = ""
    result: BuildResult | None = None  # of the build without a cache, after the change
    on_others: bool = False  # whether it came out the same on another app's cache
    slow: bool = False  # whether its second compile took too long
    problems: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """For the table."""
        if self.problems:
            return "falls short"
        return "not run" if self.app.needs else "holds"


def try_app(built: Builds, app: App, *, timed: bool = False) -> Outcome:
    """Everything that an app promises. Only where it is ``timed`` must the second compile be quick."""
    outcome = Outcome(app)
    if app.needs:
        outcome.told = f"needs {app.needs}"
        return outcome
    try:
        with _source(app) as folder:
            if app.fails:
                _fail(built, app, folder, outcome)
            else:
                _succeed(built, app, folder, outcome, tries=AGAIN_TRIES if timed else 1)
            if timed:
                _compare_times(outcome)
    except (ShortError, BuildfarmError, ValueError) as error:
        outcome.problems.append(str(error))
    return outcome


def try_on_others(built: Builds, outcomes: Iterable[Outcome], name: str) -> None:
    """Builds these apps one after the other as one app of this name, each on the cache of the one before."""
    before = "nothing"
    for outcome in outcomes:
        try:
            if outcome.result is not None:
                _compare_on_cache(built, outcome.app, outcome.result, name)
            outcome.on_others = True
        except (ShortError, BuildfarmError) as error:
            outcome.problems.append(f"on the cache of {before}: {error}")
        before = outcome.app.label


def _compare_on_cache(built: Builds, app: App, cold: BuildResult, name: str) -> None:
    with _source(app) as folder:
        if app.change:
            app.change.apply(folder)
        _compare_builds(built, app, _result(built, _build(built, app, folder, name)), cold)


@contextmanager
def _source(app: App) -> Iterator[Path]:
    """A copy of the app's source."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / app.name
        shutil.copytree(app.folder, folder, symlinks=True)
        yield folder


def _fail(built: Builds, app: App, folder: Path, outcome: Outcome) -> None:
    build = _build(built, app, folder, app.app_name)
    failure = build.failure
    if failure is None or failure.fault is not Fault.APP:
        raise ShortError(f"it should fail as the app's fault; it {build.state}: {failure}")
    if app.fails not in f"{failure.message} {failure.advice}\n{built.log(build)}":
        raise ShortError(f"nothing says {app.fails!r}:\n{_tail(built, build)}")
    outcome.told = f"fails: {app.fails}"


def _succeed(built: Builds, app: App, folder: Path, outcome: Outcome, *, tries: int) -> None:
    planned = plan_of(f"{built.farm.registry.host}/{built.farm.builder()}", folder, (), app.env)
    build = _build(built, app, folder, app.app_name)
    result = _result(built, build)
    _compare_plan(planned, result)
    outcome.cold = _time(built, app, build)
    outcome.told = _ask(built, app, result, app.answers or app.prints)
    cache = _await_cache(built, app) if app.change else ""
    if app.change:
        app.change.apply(folder)
        result = _build_again(built, app, folder, outcome, tries)
        _ask(built, app, result, app.change.answers)
    # Elsewhere there is no cache: what was built on one must not differ from what was built without.
    other = _result(built, _build(built, app, folder, f"{app.app_name}-2"))
    outcome.twice = _compare_builds(built, app, result, other)
    outcome.result = other
    if cache:
        outcome.cache = "kept" if _cache(built, app) == cache else "changed"


def _build_again(built: Builds, app: App, folder: Path, outcome: Outcome, tries: int) -> BuildResult:
    """Builds on the cache; the quickest counts, since other work on the machine can only make a build slower."""
    times: list[CompileTime] = []
    for _ in range(tries):
        build = _build(built, app, folder, app.app_name)
        result = _result(built, build)
        times.append(_time(built, app, build))
        outcome.again = min(times, key=lambda time: time.farm_seconds)
        if outcome.cold and outcome.again.is_quick_after(outcome.cold):
            break
    return result


def _time(built: Builds, app: App, build: Build) -> CompileTime:
    seconds = build.result.phase_seconds[Phase.COMPILE] if build.result else 0.0
    return CompileTime(seconds, time_scripts(list(built.farm.logs(build.id)), app.scripts))


def _compare_times(outcome: Outcome) -> None:
    first, again = outcome.cold, outcome.again
    if first and again and not again.is_quick_after(first):
        outcome.slow = True
        share, seconds = again.share_of(first), f"{again.farm_seconds:.1f} s of {first.farm_seconds:.1f} s"
        raise ShortError(
            f"without the app's own scripts, the second compile takes {share:.0%} of the first ({seconds})"
        )


def _compare_builds(built: Builds, app: App, one: BuildResult, other: BuildResult) -> str:
    """What two builds have in common: everything, or what the app depends on."""
    if not app.varies:
        if differences := compare_images(built, one, other):
            raise ShortError(f"two builds differ in {differences}")
        return "equal"
    mine, others = _dependencies(one), _dependencies(other)
    if differing := sorted(name for name in mine.keys() | others.keys() if mine.get(name) != others.get(name)):
        raise ShortError(f"two builds differ in what the app depends on: {', '.join(differing)}")
    return f"varies, but for {', '.join(sorted(mine))}" if mine else "varies"


def _dependencies(result: BuildResult) -> dict[str, str]:
    """The layers of what the app depends on: their folders and digests."""
    return {layer.origin: layer.digest for layer in result.layers if layer.origin.split("/")[0] in DEPENDENCIES}


def _compare_plan(planned: Plan, result: BuildResult) -> None:
    """What was planned is what was done."""
    names = [one["buildpack"] for one in planned["buildpacks"]]
    if names != (used := [item.name for item in result.buildpacks]):
        raise ShortError(f"planned with {names}, built with {used}")
    told = all("processes" in one for one in planned["buildpacks"])
    if told and planned["processes"] != result.process_types:
        raise ShortError(f"planned are the processes {planned['processes']}, made were {result.process_types}")
    if planned["problems"]:
        raise ShortError(f"planned are the problems {planned['problems']}, and it was built")


def compare_images(built: Builds, one: BuildResult, other: BuildResult) -> str:
    """What two images differ in, but for the app's name; empty if they are one and the same."""
    layers = [
        left.origin
        for left, right in zip(one.layers, other.layers, strict=False)
        if left.digest != right.digest or left.origin != right.origin
    ]
    if len(one.layers) != len(other.layers):
        layers.append(f"the number of layers ({len(one.layers)} and {len(other.layers)})")
    if _runtime(built, one) != _runtime(built, other):
        layers.append("the configuration")
    return ", ".join(layers)


def _runtime(built: Builds, result: BuildResult) -> object:
    media_type, content, _ = built.farm.registry.get_manifest(result.repository, result.digest)
    manifest = Manifest.parse(content, media_type)
    config = ImageConfig.parse(built.farm.registry.read_blob(result.repository, manifest.config.digest))
    runtime = json.loads(json.dumps(config.runtime))
    runtime.get("Labels", {}).pop(TITLE, None)
    return runtime


def _build(built: Builds, app: App, folder: Path, name: str) -> Build:
    return built(folder, name, env=dict(app.env), cached_result=False)


def _result(built: Builds, build: Build) -> BuildResult:
    if build.state is not State.SUCCEEDED or build.result is None:
        said = f"{build.failure.message}" if build.failure else ""
        raise ShortError(f"the build {build.state}: {said}\n{_tail(built, build)}")
    return build.result


def _tail(built: Builds, build: Build) -> str:
    return "\n".join(built.log(build).splitlines()[-15:])


def _await_cache(built: Builds, app: App) -> str:
    """It is kept after the build has ended; an app that keeps nothing never has one."""
    wait_until(lambda: bool(_cache(built, app)), CACHE_SECONDS)
    return _cache(built, app)


def _cache(built: Builds, app: App) -> str:
    """The digest of the app's cache; empty if there is none."""
    with suppress(NotInRegistryError):
        return built.farm.registry.read_manifest(f"caches/{built.tenant}/{app.app_name}", CACHE)[1]
    return ""


def _ask(built: Builds, app: App, result: BuildResult, wanted: str) -> str:
    """What the running image says; it must be what is wanted."""
    image = f"{built.farm.registry.host}/{result.repository}@{result.digest}"
    with _running(image, app) as container:
        if app.prints:
            return _until(container, lambda: _printed(container, wanted), wanted)
        body = _until(container, lambda: _body(container, app.path), wanted)
    if wanted not in body:
        raise ShortError(f"it answers {body[:_SHOWN]!r}, not {wanted!r}")
    return wanted


def _until(container: str, ask: Callable[[], str | None], wanted: str) -> str:
    """What ``ask`` finds first, while the container runs."""
    found: list[str] = []

    def ended() -> bool:
        running = _docker("inspect", "--format", "{{.State.Running}}", container).strip() == "true"
        if (text := ask()) is not None:
            found.append(text)
        return bool(found) or not running

    wait_until(ended, ANSWER_SECONDS)
    if found:
        return found[0]
    raise ShortError(f"it does not say {wanted!r}; its output:\n{_output(container)[-2 * _SHOWN :]}")


def _printed(container: str, wanted: str) -> str | None:
    found = re.search(wanted, _output(container))
    return found[0] if found else None


def _body(container: str, path: str) -> str | None:
    """The body of the answer; None as long as nobody answers."""
    address = _docker("port", container, f"{PORT}/tcp").split()
    if not address:
        return None
    try:
        with urllib.request.urlopen(f"http://{address[0]}{path}", timeout=5) as response:
            return str(response.read().decode(errors="replace"))
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode(errors='replace')}"
    except OSError:
        return None


@contextmanager
def _running(image: str, app: App) -> Iterator[str]:
    """A container of the app's process, as a platform starts it: with its config vars and a port of its choice."""
    variables = {**app.env, "PORT": str(PORT)}
    options = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    serves = ["--publish", f"127.0.0.1::{PORT}"] if app.answers else []
    container = _docker("run", "--detach", "--init", "--quiet", *serves, *options, image, app.process).strip()
    if not container:
        raise ShortError(f"the engine does not start {image}")
    try:
        yield container
    finally:
        _docker("rm", "--force", "--volumes", container)
        _docker("image", "rm", image)


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout


def _output(container: str) -> str:
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr

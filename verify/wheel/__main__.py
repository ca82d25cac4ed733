"""The wheel by itself: ``python -m verify.wheel`` installs it into empty environments, extra by extra, and uses it.

The first run needs the names of the local farm's containers, so there is one local farm on a machine. If one is up, the
wheel's ``buildfarm up`` takes it over in its state directory and leaves it up; its own node then works in a namespace
beside it. If none is up, everything is the wheel's, and it is taken down at the end. ``--no-up`` leaves this part out;
names of extras as arguments choose among them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from buildfarm.farm import Farm, open_farm
from buildfarm.settings import STATE_DIRECTORY, read_settings
from examples import demo
from localfarm.waiting import wait_until
from testkit.builds import empty_namespace
from testkit.table import Claims
from verify.wheel.start_up import measure_start_up

ROOT = Path(__file__).parents[2]
APPS = ("python", "node")
BASE_PACKAGES_MAX = 40
INSTALL_SECONDS = 600
UP_SECONDS = 1800
NODE_SECONDS = 120

CLIENT = "buildfarm.client buildfarm.model buildfarm.cli buildfarm.recipes buildfarm.oci buildfarm.sources"
LIBRARY = f"{CLIENT} buildfarm.farm buildfarm.access buildfarm.store buildfarm.gc"
API = f"{LIBRARY} buildfarm.api buildfarm.queue buildfarm.telemetry"
NODE = f"{LIBRARY} buildfarm.queue buildfarm.telemetry workers"
EVERYTHING = "buildfarm workers localfarm"

# Imports every module below the packages that it is given.
IMPORT = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(package, "__path__", []), f"{name}."):
        if not found.name.endswith("__main__") and ".recipes.builder" not in found.name:
            importlib.import_module(found.name)
print(len(sys.modules))
"""


@dataclass(frozen=True)
class Extra:
    """What an extra must be able to import, and what it must do without."""

    name: str
    imports: str
    absent: tuple[str, ...]
    commands: Mapping[str, str]  # a command that needs another extra, and which


EXTRAS = (
    Extra("", CLIENT, ("celery", "cryptography", "docker", "fastapi", "redis"),
          {"list": "farm", "up": "local", "api": "api"}),
    Extra("farm", LIBRARY, ("celery", "docker", "fastapi"), {"up": "local", "api": "api"}),
    Extra("api", API, ("docker",), {"up": "local"}),
    Extra("node", NODE, ("fastapi", "uvicorn"), {"up": "local", "api": "api"}),
    Extra("local", EVERYTHING, ("opentelemetry",), {}),
    Extra("traces", f"{CLIENT} buildfarm.telemetry.traces opentelemetry.sdk.trace", ("celery", "redis"), {}),
    Extra("all", EVERYTHING, ("pytest",), {}),
)  # fmt: skip


@dataclass(frozen=True)
class Installed:
    """The wheel in its own environment."""

    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def run(self, *command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command of this environment, in a folder without a checkout."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["PATH"] = f"{self.folder / 'bin'}:{environment['PATH']}"
        return subprocess.run(
            [self.python, "-m", *command], cwd=cwd, env={**environment, **variables}, check=False,
            capture_output=True, text=True, timeout=UP_SECONDS,
        )  # fmt: skip


def main() -> None:
    claims = Claims("The wheel")
    with tempfile.TemporaryDirectory(prefix="verify-wheel-") as name:
        top = Path(name)
        empty = top / "empty"
        empty.mkdir()
        wheel = build_wheel(top)
        wanted = {word for word in sys.argv[1:] if not word.startswith("--")}
        for extra in EXTRAS:
            if wanted and (extra.name or "base") not in wanted:
                continue
            installed = install(wheel, extra.name, top / (extra.name or "base"))
            try_extra(claims, extra, installed, empty)
            if extra.name == "farm":
                measure_start_up(claims, installed.folder / "bin" / "buildfarm", empty)
            if extra.name == "local" and "--no-up" not in sys.argv:
                first_run(claims, installed, empty)
            shutil.rmtree(installed.folder)
    claims.finish()


def build_wheel(top: Path) -> Path:
    """The wheel of the files that belong to the project, without what earlier builds left in the tree."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    source = top / "source"
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(top), str(source)]
    subprocess.run(build, check=True, timeout=INSTALL_SECONDS)
    return next(top.glob("*.whl"))


def install(wheel: Path, extra: str, folder: Path) -> Installed:
    """An empty environment with the wheel and one extra, in the pinned versions."""
    installed = Installed(folder)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    wanted = f"buildfarm[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
    pip = [installed.python, "-m", "pip", "install", "--quiet", "--quiet"]
    subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), wanted], check=True, timeout=INSTALL_SECONDS)
    return installed


def try_extra(claims: Claims, extra: Extra, installed: Installed, empty: Path) -> None:
    """Its modules, its help, what it does without, and what it says of commands that need more."""
    name = extra.name or "(no extra)"
    packages = json.loads(installed.run("pip", "list", "--format=json", cwd=empty).stdout)
    if not extra.name:
        claims.add(f"{name}: few packages", f"{len(packages)}", len(packages) <= BASE_PACKAGES_MAX)
    there = [package["name"] for package in packages if package["name"].lower() in extra.absent]
    claims.add(f"{name}: without {', '.join(extra.absent)}", ", ".join(there) or f"{len(packages)} packages", not there)
    (empty / "imports.py").write_text(IMPORT)
    done = installed.run("imports", *extra.imports.split(), cwd=empty)
    (empty / "imports.py").unlink()
    told = done.stderr.strip().rpartition("\n")[2] or f"{done.stdout.strip()} modules"
    claims.add(f"{name}: its modules can be imported", told, done.returncode == 0)
    shown = installed.run("buildfarm", "--help", cwd=empty)
    claims.add(f"{name}: buildfarm --help", f"ends with {shown.returncode}", "Commands:" in shown.stdout)
    for command, needed in extra.commands.items():
        refused = installed.run("buildfarm", command, cwd=empty, BUILDFARM_URL="")
        advice = f"pip install 'buildfarm[{needed}]'"
        told = refused.stderr.strip().replace("\n", " ")[-110:]
        claims.add(f"{name}: `buildfarm {command}`", told, refused.returncode == 3 and advice in refused.stderr)


def first_run(claims: Claims, installed: Installed, empty: Path) -> None:
    """The README's first run in an empty folder: the farm comes up, and two apps are built and answer."""
    was_up = installed.run("buildfarm", "status", cwd=empty).returncode == 0
    up = installed.run("buildfarm", "up", cwd=empty)
    told = (up.stderr if up.returncode else up.stdout).strip().rpartition("\n")[2]
    claims.add("`buildfarm up` in an empty folder", told, up.returncode == 0)
    claims.add("nothing is written there", ", ".join(map(str, empty.iterdir())) or "nothing", not list(empty.iterdir()))
    if up.returncode:
        return
    try:
        with own_node(installed, empty) if was_up else shared_node() as variables:
            for app in APPS:
                shutil.copytree(ROOT / "examples" / app, empty / app)
                answer = build_and_ask(installed, empty, app, variables)
                claims.add(f"{app}: built by the wheel's node, run, asked", answer, "hello you" in answer)
    finally:
        if not was_up:
            installed.run("buildfarm", "down", cwd=empty)


def build_and_ask(installed: Installed, empty: Path, app: str, variables: Mapping[str, str]) -> str:
    """What the app's web process answers, or why there is none."""
    done = installed.run(
        "buildfarm", "build", app, "--app", f"wheel/{app}", "--rebuild", "--json", cwd=empty, **variables
    )
    if done.returncode:
        return f"{done.stdout}{done.stderr}".strip()[-300:]
    result = json.loads(done.stdout)["result"]
    registry = read_settings().registry_url.partition("://")[2]
    return demo.ask(f"{registry}/{result['repository']}@{result['digest']}")


@contextmanager
def shared_node() -> Iterator[Mapping[str, str]]:
    """The node that ``up`` started."""
    yield {}


def is_ready(farm: Farm, node_id: str) -> bool:
    """Whether this node takes builds."""
    return any(node.id == node_id and node.accepting for node in farm.nodes())


@contextmanager
def own_node(installed: Installed, empty: Path) -> Iterator[Mapping[str, str]]:
    """A node of the wheel in its own namespace, for the length of the block; it leaves nothing in Redis."""
    node_id = f"verify-wheel-{uuid.uuid4().hex[:8]}"
    settings = read_settings().model_copy(update={"namespace": f"{node_id}:"})
    folder = Path(tempfile.mkdtemp(prefix=f"{node_id}-", dir=STATE_DIRECTORY))
    variables = {
        "BUILDFARM_NAMESPACE": settings.namespace,
        "BUILDFARM_NODE_ID": node_id,
        "BUILDFARM_SANDBOX_NETWORK": settings.sandbox_network,
        "BUILDFARM_WORKSPACE_DIRECTORY": str(folder / "workspaces"),
        "BUILDFARM_CACHE_DIRECTORY": str(folder / "caches"),
    }
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    log = folder / "node.log"
    with open_farm(settings) as farm, log.open("wb") as output:
        node = subprocess.Popen(
            [installed.python, "-m", "workers"], cwd=empty, env=environment, stdout=output, stderr=output
        )
        try:
            wait_until(lambda: node.poll() is not None or is_ready(farm, node_id), NODE_SECONDS)
            if node.poll() is not None or not is_ready(farm, node_id):
                raise RuntimeError(f"the wheel's node did not start:\n{log.read_text()[-2000:]}")
            yield variables
        finally:
            node.send_signal(signal.SIGTERM)
            node.wait(60)
            empty_namespace(settings)
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

"""The farm's main job on a node: build, build again, redeploy, export, run over HTTP."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from buildfarm.model import Build, Layer
from testkit.builds import EXAMPLES
from testkit.cluster.shell import run
from testkit.table import Claims
from verify.network.engines.node import Trial

EXAMPLE = EXAMPLES / "python"
_REDEPLOY_BYTES = 20_000
_reference: dict[str, str] = {}  # what the first engine made


def tell(claims: Claims, engine: str, trial: Trial) -> None:
    """Each step is a claim."""
    first, seconds = _build(trial, EXAMPLE)
    digest = _digest(first)
    same = _reference.setdefault("image", digest)
    claims.add(f"{engine}: builds an app", f"{seconds:.1f} s, attempt {first.attempt}", first.attempt == 1)
    claims.add(f"{engine}: the image is the one that the first engine made", digest[:19], digest == same)
    again, seconds = _build(trial, EXAMPLE)
    uploaded = again.result.uploaded_bytes if again.result else -1
    claims.add(f"{engine}: built again, the same image", f"{uploaded} bytes", _digest(again) == digest and not uploaded)
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / "app"
        shutil.copytree(EXAMPLE, app)
        text = (app / "app.py").read_text()
        (app / "app.py").write_text(text.replace('app="python"', f'app="{engine}"'))
        changed, seconds = _build(trial, app)
    assert changed.result is not None
    figure = f"{seconds:.2f} s, {changed.result.uploaded_bytes} bytes"
    claims.add(f"{engine}: redeploys one changed line", figure, changed.result.uploaded_bytes <= _REDEPLOY_BYTES)
    answer = trial.ask(trial.image(changed))
    claims.add(f"{engine}: the image runs and answers over HTTP", answer[:40], f'"{engine}"' in answer)
    _below(claims, engine, trial, changed.result.layers)


def _below(claims: Claims, engine: str, trial: Trial, layers: tuple[Layer, ...]) -> None:
    """A host that has the builder fetches the app's own layers alone."""
    own = sum(layer.origin != "builder" for layer in layers)
    image = trial.image(trial.farm.recent(1)[0])
    trial.machine.docker("rmi", "--force", image)
    pull = ["docker", "--host", trial.machine.docker_url, "pull", image]
    told = subprocess.run(pull, check=True, capture_output=True, text=True).stdout
    moved = told.count("Pull complete")
    claims.add(f"{engine}: pulls the app's layers alone", f"{moved} of {own} own layers", moved <= own)


def _build(trial: Trial, directory: Path) -> tuple[Build, float]:
    started = time.monotonic()
    build = trial.ended(trial.submit(directory, "python"))
    return build, time.monotonic() - started


def _digest(build: Build) -> str:
    assert build.result is not None
    return str(build.result.digest)


def version(trial: Trial) -> str:
    """What the engine is, with its parts."""
    engine = trial.machine.docker("version", "--format={{.Server.Version}}, API {{.Server.APIVersion}}").strip()
    info = trial.machine.docker("info", "--format={{.Driver}}, cgroup v{{.CgroupVersion}}").strip()
    runc = run(*trial.machine.inside(), "runc", "--version").split()[2]
    rules = run(*trial.machine.inside(), "iptables", "--version").strip()
    return f"{engine}, {info}, runc {runc}, {rules}"

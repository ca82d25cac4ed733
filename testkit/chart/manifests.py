"""Rendered manifests: made by Helm, read, and checked against schemas."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "buildfarm"
VALUE_SETS = tuple(sorted((CHART / "ci").glob("*-values.yaml")))
CUSTOM = ("keda.sh/", "monitoring.coreos.com/")

Manifest = dict[str, Any]


def helm(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Helm's answer, whatever it is."""
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=120)


def render(
    program: Path, values: Path, version: str, *more: str, chart: str = str(CHART), name: str = "farm"
) -> tuple[str, str]:
    """What Helm makes of these values for a Kubernetes of this version, and its complaint; one of both is empty."""
    done = helm(program, "template", name, chart, "-n", "builds", "-f", values, "--kube-version", version, *more)
    return (done.stdout, "") if done.returncode == 0 else ("", done.stderr.strip())


def read(text: str) -> list[Manifest]:
    """The manifests of a rendering."""
    return [found for found in yaml.safe_load_all(text) if found]


def only(manifests: Sequence[Manifest], kind: str, component: str = "") -> Manifest:
    """The one manifest of a kind, and of a component if one is given."""
    found = [
        item
        for item in manifests
        if item["kind"] == kind
        and (not component or item["metadata"]["labels"]["app.kubernetes.io/component"] == component)
    ]
    if len(found) != 1:
        raise LookupError(f"{len(found)} manifests of kind {kind} {component}")
    return found[0]


def built_in_complaints(path: Path, version: str) -> list[str]:
    """What kubernetes-validate says against the kinds of Kubernetes's own; an unknown kind is a complaint too."""
    command = [str(Path(sys.executable).with_name("kubernetes-validate")), "--strict", "-k", version, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    lines = (done.stdout + done.stderr).splitlines()
    complaints = [line for line in lines if line.strip() and not line.startswith("INFO")]
    return complaints or ([f"it ended with {done.returncode}"] if done.returncode else [])


def custom_complaints(manifests: Sequence[Manifest]) -> list[str]:
    """The same for custom resources, by the schemas in helm/crds."""
    complaints = []
    for item in manifests:
        path = ROOT / "helm" / "crds" / f"{item['kind']}.json"
        if not path.is_file():
            complaints.append(f"{item['kind']}: there is no schema of it")
            continue
        checker = jsonschema.Draft7Validator(json.loads(path.read_text()))
        complaints += [f"{item['kind']} {error.json_path}: {error.message}" for error in checker.iter_errors(item)]
    return complaints


def is_custom(item: Manifest) -> bool:
    """Whether a manifest is of a kind that Kubernetes itself does not know."""
    return str(item["apiVersion"]).startswith(CUSTOM)

"""Prints the plan of a Python app as one JSON object; run by bin/plan."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from python_plan import libraries, managers, requirements, starts, versions
from python_plan.app import App, WrongFileError, read_config

_LOOKED_FOR = (
    *managers.LOCKS,
    *managers.MANIFESTS,
    ".python-version",
    "runtime.txt",
    ".tool-versions",
    "mise.toml",
    "manage.py",
    "Procfile",
)
HOOKS = ("bin/pre_compile", "bin/post_compile")
FRONT_END = "/usr/lib/buildfarm/front-end"


def main(root: str, config: str) -> None:
    app = App(root, read_config(config))
    plan = make(app, ".".join(map(str, sys.version_info[:3])), _front_end(app, config))
    sys.stdout.write(json.dumps(plan) + "\n")


def _front_end(app: App, config: str) -> Mapping[str, list[str]]:
    if not app.has("package.json"):
        return {}
    import subprocess  # noqa: PLC0415 - only here: most apps have no front end, and its import takes 4 ms

    command = [FRONT_END, "plan", app.root, config]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    planned: dict[str, list[str]] = json.loads(done.stdout)
    return planned


def make(app: App, builders: str, front_end: Mapping[str, list[str]]) -> dict[str, Any]:
    """The plan; ``builders`` is the version of the builder's Python, ``front_end`` what that helper plans."""
    try:
        return _make(app, builders, front_end)
    except WrongFileError as wrong:
        return {
            "buildpack": "python",
            "found": _found(app),
            "steps": [],
            "processes": {},
            "warnings": [],
            "problems": [str(wrong)],
        }


def _make(app: App, builders: str, front_end: Mapping[str, list[str]]) -> dict[str, Any]:
    language, problem = versions.choose(app, builders)
    manager, problems = managers.choose(app)
    project = manager.package or bool(manager.project.run)
    start = starts.choose(app, manager.names, project=project) if "web" not in app.processes else None
    static = _collectstatic(app, manager.names)
    return {
        "buildpack": "python",
        "found": _found(app),
        "manager": {"name": manager.name, "version": manager.version, "because": manager.because},
        "language": language,
        "builder": builders,
        "uv": managers.VERSIONS["uv"],
        "tools": _tools(manager, fetched=bool(language["fetched"])),
        "front_end": front_end.get("steps", []),
        "steps": [*front_end.get("steps", []), *_steps(app, manager, static)],
        "install": {
            "run": manager.run,
            "kept": not manager.not_kept,
            "because": manager.not_kept,
            "inputs": manager.inputs,
            "package": manager.package,
        },
        "project": manager.project._asdict(),
        "collectstatic": static,
        "processes": {"web": start.command} if start else {},
        "because": start.because if start else "the Procfile" if "web" in app.processes else "",
        "warnings": [*front_end.get("warnings", []), *_warnings(app, manager, start)],
        "problems": [*front_end.get("problems", []), *([problem] if problem else []), *problems],
    }


def _tools(manager: managers.Manager, *, fetched: bool) -> dict[str, list[str]]:
    """Those of the farm's build tools that are of use; uv fetches interpreters too."""
    if manager.name == "uv":
        return {"uv": [manager.version]}
    return {"uv": [managers.VERSIONS["uv"]]} if fetched else {}


def _steps(app: App, manager: managers.Manager, static: str) -> list[str]:
    before, after = (name if app.has(name) else "" for name in HOOKS)
    return [step for step in (before, manager.run, manager.project.run, static, after) if step]


def _collectstatic(app: App, names: starts.Names) -> str:
    """The command that gathers Django's static files; nothing if the app has none, or does not want it."""
    folder = starts.manage(app)
    if not folder or "django" not in names or app.config.get("DISABLE_COLLECTSTATIC"):
        return ""
    patterns = ("*settings*.py", "*/*settings*.py", "*/settings/*.py", "*/*/settings*.py")
    settings = app.match(*(f"{folder}{pattern}" for pattern in patterns))
    used = any("django.contrib.staticfiles" in app.text(name) for name in settings)
    return f"python {folder.removeprefix('./')}manage.py collectstatic --noinput" if used else ""


def _found(app: App) -> list[str]:
    hooks = [name for name in HOOKS if app.has(name)]
    return [*(name for name in dict.fromkeys(_LOOKED_FOR) if app.has(name)), *hooks]


def _warnings(app: App, manager: managers.Manager, start: starts.Start | None) -> list[str]:
    told = libraries.hints(app, manager.names)
    if manager.name != "pip" and not manager.lock:
        command = managers.lock_command(manager)
        told.append(
            f"There is no lock file: versions may differ from build to build. Run '{command}' and commit its file."
        )
    other = app.first(*requirements.NAMES)
    if manager.lock and other:
        told.append(f"{other} is not read: {manager.lock} says what is installed.")
    if start and start.warning:
        told.append(start.warning)
    return told

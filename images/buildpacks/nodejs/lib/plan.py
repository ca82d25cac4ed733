"""``plan.py BUILD_DIR ENV_DIR``: prints the plan of a Node app as one JSON object."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import install
import managers
import members
import needs
import starts
import versions
from app import MANIFESTS, App, WrongFileError, read_config, told_by

_TOOL_FILES = (".nvmrc", ".node-version", ".tool-versions", "mise.toml", ".mise.toml")


def main(root: str, config: str) -> None:
    app = App(Path(root), read_config(Path(config)))
    try:
        plan = make(app)
    except WrongFileError as wrong:
        plan = {
            "buildpack": "nodejs",
            "found": [app.manifest_name],
            "steps": [],
            "processes": {},
            "warnings": [],
            "problems": [str(wrong)],
        }
    json.dump(plan, sys.stdout, indent=2)
    sys.stdout.write("\n")


def make(app: App) -> dict[str, Any]:
    npm = builders_npm()
    language, problem = versions.choose(app, builders_node())
    manager, problems = managers.choose(app, language["version"], npm)
    packages = install.read_packages(app)
    shared = members.find(app, manager, packages.manifests)
    start = starts.choose(app, manager) or members.start(app, shared)
    commands = dict(app.processes) or ({"web": start.command} if start else {})
    steps, parts = make_steps(app, manager, packages, start, commands)
    beside = bun(app, manager, commands)
    return {
        "buildpack": "nodejs",
        "found": found(app, manager),
        "manager": {
            **{
                key: getattr(manager, key)
                for key in ("name", "version", "because", "linker", "digest", "path")
                if getattr(manager, key)
            },
            "fetched": fetched(manager, npm),
        },
        "language": language,
        "tools": tools(language, manager, npm, beside["version"]),
        "steps": steps,
        **parts,
        "processes": {"web": start.command} if start else {},
        "environment": start.environment if start else {},
        "runtime": at_run_time(app, manager, commands, npm),
        "bun": beside,
        "ci": not app.uses("react-scripts"),
        "because": start.because if start else "",
        "warnings": warnings(app, manager, "" if start else members.warning(shared)),
        "problems": [*([problem] if problem else []), *problems],
    }


def tools(language: dict[str, Any], manager: managers.Manager, npm: str, beside: str) -> dict[str, list[str]]:
    """Which versions are fetched, of what."""
    return {
        **({"node": [language["version"]]} if language["fetched"] else {}),
        **({manager.name: [manager.version]} if fetched(manager, npm) and not manager.digest else {}),
        **({"bun": [beside]} if beside else {}),
    }


def fetched(manager: managers.Manager, npm: str) -> bool:
    """Whether it is another than the builder's and the app's own."""
    return not manager.path and (manager.name, manager.version) != ("npm", npm)


def make_steps(
    app: App,
    manager: managers.Manager,
    packages: install.Packages,
    start: starts.Start | None,
    commands: dict[str, str],
) -> tuple[list[str], dict[str, Any]]:
    """All commands in their order, and what the log says about the installing and the pruning one."""
    not_kept = install.why_not_kept(app, manager, packages)
    makes_lock = install.makes_lock(app, manager, not_kept)
    installing = install.install(app, manager, makes_lock=makes_lock)
    loaded = start.loads if start and start.loads in app.development else ""
    pruning, why_not = install.prune(
        app, manager, packages, needs.find(app, commands, packages.manifests) or loaded, makes_lock=makes_lock
    )
    scripts = [manager.run(name) for name in after(app)]
    before = [manager.run(name) for name in ("heroku-prebuild", "scalingo-prebuild") if name in app.scripts]
    own = install.apart(app, manager, packages)
    steps = [*before, installing, *own, *scripts, *(start.steps if start else ()), pruning]
    kept = {
        "run": installing,
        "kept": not not_kept,
        "because": not_kept,
        "daily": not manager.lock,
        "makes": install.made_locks(manager, makes_lock=makes_lock),
        "makes_lock": makes_lock,
        "inputs": install.inputs(app, manager, packages),
        "apart": own,
    }
    return [step for step in steps if step], {"install": kept, "prune": {"run": pruning, "because": why_not}}


def after(app: App) -> list[str]:
    """The app's scripts that run when the dependencies are there."""
    return [*app.builds, *(name for name in ("heroku-cleanup", "scalingo-cleanup") if name in app.scripts)]


def at_run_time(app: App, manager: managers.Manager, commands: dict[str, str], npm: str) -> bool:
    """Whether the package manager itself must be in the image; ``npm`` is the builder's, which is there."""
    text = "\n".join(needs.all_scripts(app, commands))
    if manager.name == "npm":
        return fetched(manager, npm) and bool(re.search(r"\b(npm|npx)\b", text))
    if manager.name == "bun" or manager.plug_n_play:
        return True
    return bool(re.search(r"\b(pnpm|pnpx|yarn|yarnpkg)\b", text))


def bun(app: App, manager: managers.Manager, commands: dict[str, str]) -> dict[str, Any]:
    """Where scripts call bun although another manager installs: its version, and whether a process calls it."""
    scripts = {name: app.scripts.get(name, "") for name in after(app)}
    called = [
        bool(re.search(r"(?m)(^|[\s;&|])bunx?\s", "\n".join(needs.all_scripts(app, some))))
        for some in (scripts, commands)
    ]
    return {"version": managers.bun_beside(app, manager) if any(called) else "", "runtime": called[1]}


def found(app: App, manager: managers.Manager) -> list[str]:
    names = [*MANIFESTS, *managers.LOCKS, *_TOOL_FILES, *install.SETTINGS, "Procfile"]
    return [name for name in names if app.has(name)]


def warnings(app: App, manager: managers.Manager, more: str) -> list[str]:
    told = []
    if not manager.lock and any(app.table(key) for key in ("dependencies", "devDependencies", "optionalDependencies")):
        lock = next(name for name, kind in managers.LOCKS.items() if kind == manager.name and "shrinkwrap" not in name)
        told.append(f"There is no {lock}: versions may differ from day to day. Commit one.")
    if sentence := starts.unadapted(app):
        told.append(sentence)
    return [*told, more] if more else told


def builders_node() -> str:
    """What the builder's Node is, from its headers: to start it takes 40 ms."""
    program = which("node").resolve()
    try:
        header = (program.parents[1] / "include/node/node_version.h").read_text()
        return ".".join(re.findall(r"#define NODE_(?:MAJOR|MINOR|PATCH)_VERSION (\d+)", header))
    except OSError:
        return told_by(["node", "--version"]).removeprefix("v")


def builders_npm() -> str:
    program = which("npm").resolve()
    try:
        return str(json.loads((program.parents[1] / "package.json").read_text())["version"])
    except (OSError, ValueError, KeyError):
        return told_by(["npm", "--version"])


def which(program: str) -> Path:
    folders = [folder for folder in os.environ.get("PATH", "").split(":") if folder]
    there = (Path(folder, program) for folder in folders if os.access(Path(folder, program), os.X_OK))
    return next(there, Path("/usr/local/bin", program))


if __name__ == "__main__":
    main(*sys.argv[1:3])

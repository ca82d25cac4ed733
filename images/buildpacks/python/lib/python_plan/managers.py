"""Which tool installs an app's dependencies, and with what command."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from python_plan import requirements, versions
from python_plan.app import App, WrongFileError, normal

LOCKS = {"uv.lock": "uv", "poetry.lock": "poetry", "pdm.lock": "pdm", "Pipfile.lock": "pipenv", "pylock.toml": "uv"}
MANIFESTS = (*requirements.NAMES, "Pipfile", "pyproject.toml", "setup.py", "setup.cfg")

# The versions that are fetched where the app asks for no other. pip is the builder's.
VERSIONS = {"uv": "0.13.8", "poetry": "2.5.1", "pdm": "2.29.4", "pipenv": "2026.10.3"}

_LOCK_COMMANDS = {"uv": "uv lock", "poetry": "poetry lock", "pdm": "pdm lock", "pipenv": "pipenv lock"}
_CANDIDATES = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock")


class Project(NamedTuple):
    """How the app itself is installed, which is done in every build; no command where it is not."""

    run: str
    because: str


class Manager(NamedTuple):
    """The tool, what it runs, and what decides its result. ``names``: what is installed, as far as files say it.

    ``not_kept`` says why the installed tree is not kept for the next build; nothing if it is. ``package``: one run
    installs the dependencies and the project, whose wheel names them.
    """

    name: str
    version: str
    because: str
    run: str
    inputs: list[str]
    names: dict[str, tuple[str, ...]]
    project: Project
    lock: str = ""
    not_kept: str = ""
    package: bool = False


def choose(app: App) -> tuple[Manager, list[str]]:
    """The app's manager, and what is wrong with what the app says of it."""
    locks = [name for name in _CANDIDATES if app.has(name)]
    if len(locks) > 1:
        told = f"There are {' and '.join(locks)}, which are lock files of different package managers."
        return _nothing(app), [f"{told} Delete those that you do not use."]
    if locks:
        name = LOCKS[locks[0]]
        manifest = "Pipfile" if name == "pipenv" else "pyproject.toml"
        if not app.has(manifest):
            return _nothing(app), [
                f"There is {locks[0]} and no {manifest}, which it belongs to. Add the one or delete the other."
            ]
        return _MAKERS[name](app, locks[0], locks[0]), []
    if app.has("pylock.toml"):
        return _pylock(app), []
    return _without_lock(app)


def _without_lock(app: App) -> tuple[Manager, list[str]]:
    if name := app.first(*requirements.NAMES):
        return _pip(app, name)
    if app.has("Pipfile"):
        return _pipenv(app, "", "Pipfile"), []
    manager = _by_tables(app)
    return manager, [] if manager.run else _conda(app)


def _by_tables(app: App) -> Manager:
    """By what pyproject.toml holds, or setup.py."""
    if app.says("tool", "poetry"):
        return _poetry(app, "", "[tool.poetry] in pyproject.toml")
    if app.says("tool", "uv", "sources") or app.says("tool", "uv", "workspace"):
        return _uv(app, "", "[tool.uv] in pyproject.toml")
    if app.has("setup.py") or _is_package(app):
        return _package(app)
    return _listed(app) if app.says("project") else _nothing(app)


def _conda(app: App) -> list[str]:
    """What is wrong where only conda's file lists the dependencies."""
    if not (name := app.first("environment.yml", "environment.yaml", "pixi.toml")):
        return []
    if name != "pixi.toml":
        block = re.search(r"(?m)^dependencies:[^\n]*\n((?:[ \t-][^\n]*\n?|[ \t]*(?:#[^\n]*)?\n)*)", app.text(name))
        listed = re.findall(r"(?m)^\s*-\s*[\"']?(?:[\w-]+::)?([\w.-]+)", block[1] if block else "")
        if set(listed) <= {"python", "pip"}:
            return []
    told = f"{name} lists packages of conda, which is not here, and no other file lists what the app needs."
    return [f"{told} Write it into a requirements.txt as pip names it, or name a buildpack for conda."]


def _nothing(app: App) -> Manager:
    return Manager("pip", "", "the app has no dependencies", "", [], {}, Project("", "there is nothing to install"))


def _version(name: str, asked: object) -> str:
    """The version of a tool: ours where it is what the app asks for, else that."""
    alternatives = versions.read_range(str(asked or ""))
    if alternatives is None:
        raise WrongFileError(
            f"pyproject.toml asks for {name} '{asked}', which is not a version. Write it like {VERSIONS[name]}."
        )
    return VERSIONS[name] if versions.satisfies(VERSIONS[name], alternatives) else versions.request(alternatives)


# uv


def _uv(app: App, lock: str, because: str) -> Manager:
    everything = " --all-packages" if not app.says("project") and app.says("tool", "uv", "workspace") else ""
    options = f"{' --locked' if lock else ''} --no-dev{everything}"
    members = _uv_members(app)
    builds = bool(members) or _uv_builds(app)
    project = (
        Project(f"uv sync{options}", "the project is a package")
        if builds
        else Project("", "the project is not a package")
    )
    skips = " --no-install-project" + (" --no-install-workspace" if members else "")
    inputs = [name for name in ("pyproject.toml", lock, "uv.toml", *members) if name and app.has(name)]
    names = _direct(app) | _from_lock(app, lock)
    not_kept = "" if lock else "there is no lock file"
    if re.search(r"source = \{ (directory|editable|path) = \"(?!\.\")", app.text(lock)) and not members:
        not_kept = "uv.lock names packages in folders of the app"
    version = _version("uv", app.table("tool", "uv").get("required-version"))
    return Manager("uv", version, because, f"uv sync{options}{skips}", inputs, names, project, lock, not_kept)


def _uv_builds(app: App) -> bool:
    own = app.table("tool", "uv").get("package")
    return bool(own) if own is not None else app.says("build-system")


def _uv_members(app: App) -> list[str]:
    """The manifests of a workspace's members."""
    patterns = app.table("tool", "uv", "workspace").get("members") or []
    return sorted(
        {os.path.normpath(name) for name in app.match(*(f"{pattern}/pyproject.toml" for pattern in patterns))}
    )


def _pylock(app: App) -> Manager:
    run, project = "uv pip sync pylock.toml", Project("", "pylock.toml lists all that is installed")
    names = _from_lock(app, "pylock.toml")
    return Manager("uv", VERSIONS["uv"], "pylock.toml", run, ["pylock.toml"], names, project, "pylock.toml")


# Poetry, pdm, Pipenv


def _poetry(app: App, lock: str, because: str) -> Manager:
    root = _poetry_root(app)
    project = Project(
        "poetry install --no-interaction --only-root" if not root else "", root or "the project is a package"
    )
    inputs = [name for name in ("pyproject.toml", "poetry.toml", lock) if name and app.has(name)]
    names = _direct(app) | _from_lock(app, lock)
    not_kept = "" if lock else "there is no lock file"
    if re.search(r'(?m)^type = "(directory|file)"', app.text(lock)):
        not_kept = "poetry.lock names packages in folders of the app"
    version = _version("poetry", app.table("tool", "poetry").get("requires-poetry"))
    run = "poetry install --no-interaction --only main --no-root"
    return Manager("poetry", version, because, run, inputs, names, project, lock, not_kept)


def _poetry_root(app: App) -> str:
    """Why the project itself is not installed; nothing if it is."""
    poetry = app.table("tool", "poetry")
    if poetry.get("package-mode") is False:
        return "package-mode is false"
    name = str(app.table("project").get("name") or poetry.get("name") or "")
    if not name:
        return "the project has no name"
    module = re.sub(r"[-.]+", "_", name)
    places = (f"{module}/__init__.py", f"src/{module}/__init__.py", f"{module}.py", f"src/{module}.py")
    if poetry.get("packages") or app.first(*places) or app.has_folder(module) or app.has_folder(f"src/{module}"):
        return ""
    return f"there is not a package {module}"


def _pdm(app: App, lock: str, because: str) -> Manager:
    distribution = app.table("tool", "pdm").get("distribution")
    package = app.says("build-system") if distribution is None else bool(distribution)
    # Those of formats before 4.5 have a digest of pyproject.toml that pdm since 2.17 computes otherwise.
    written = re.search(r'(?m)^lock_version = "(\d+)\.(\d+)', app.text(lock))
    old = written is not None and (int(written[1]), int(written[2])) < (4, 5)
    run = "pdm sync --prod" if old else "pdm install --check --prod"
    project = Project(run if package else "", "the project is a package" if package else "the project is not a package")
    not_kept = "pdm.lock names packages in folders of the app" if re.search(r'(?m)^path = "', app.text(lock)) else ""
    names = _direct(app) | _from_lock(app, lock)
    inputs = [name for name in ("pyproject.toml", "pdm.toml", lock) if app.has(name)]
    return Manager("pdm", VERSIONS["pdm"], because, f"{run} --no-self", inputs, names, project, lock, not_kept)


def _pipenv(app: App, lock: str, because: str) -> Manager:
    packages = app.toml("Pipfile").get("packages", {})
    names = {normal(name): _extras(wanted) for name, wanted in packages.items()}
    locked = re.search(r'"default": \{(.*?)\n    \}', app.text(lock), flags=re.DOTALL)
    names |= {
        normal(name): names.get(normal(name), ())
        for name in re.findall(r'(?m)^        "([^"]+)": \{', locked[1] if locked else "")
    }
    not_kept = "" if lock else "there is no lock file"
    if any(isinstance(wanted, dict) and ("path" in wanted or "file" in wanted) for wanted in packages.values()):
        not_kept = "Pipfile names packages at paths or addresses"
    run = "pipenv install --deploy" if lock else "pipenv install --skip-lock"
    inputs = [name for name in ("Pipfile", lock) if name]
    project = Project("", "Pipfile lists all that is installed")
    return Manager("pipenv", VERSIONS["pipenv"], because, run, inputs, names, project, lock, not_kept)


def _extras(wanted: Any) -> tuple[str, ...]:
    return tuple(map(normal, wanted.get("extras", ()))) if isinstance(wanted, dict) else ()


# pip


def _pip(app: App, name: str) -> tuple[Manager, list[str]]:
    found = requirements.read(app, name)
    problems = [
        f"{name} includes {missing}, which is not there. Add the file, or take out its line."
        for missing in found.missing
    ]
    project = Project("", f"{name} lists all that is installed")
    not_kept = f"what '{found.moving}' names may change" if found.moving else ""
    # Cloud Foundry's folder for archives that are not in an index
    brought = any(file.endswith((".whl", ".tar.gz", ".zip")) for file in app.names("vendor"))
    run = f"pip install{' --find-links vendor' if brought else ''} -r {name}"
    inputs = [*found.files, *(["vendor"] if brought else [])]
    return Manager("pip", "", name, run, inputs, found.names, project, not_kept=not_kept), problems


def _is_package(app: App) -> bool:
    return (
        app.says("build-system")
        or app.says("tool", "setuptools")
        or app.says("tool", "flit")
        or app.says("tool", "hatch")
    )


def _package(app: App) -> Manager:
    """A package, whose wheel says what it depends on."""
    because = "pyproject.toml" if app.says("project") or not app.has("setup.py") else "setup.py"
    return Manager(
        "pip", "", because, "pip install .", [], _direct(app), Project("", "the project is a package"), package=True
    )


def _listed(app: App) -> Manager:
    """A pyproject.toml that only lists dependencies: nothing is to be built."""
    listed = [text for text in app.table("project").get("dependencies") or [] if isinstance(text, str)]
    run = " ".join(["pip install", *map(_quoted, listed)]) if listed else ""
    project = Project("", "pyproject.toml has no [build-system]: the project is not a package")
    not_kept = next((f"what '{text}' names may change" for text in listed if "@" in text), "")
    return Manager("pip", "", "[project] in pyproject.toml", run, [], _direct(app), project, not_kept=not_kept)


def _quoted(text: str) -> str:
    """As a word for a shell."""
    return text if re.fullmatch(r"[\w.=+,-]+", text) else "'" + text.replace("'", "'\"'\"'") + "'"


# What is installed


def _direct(app: App) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for text in app.table("project").get("dependencies") or []:
        names |= requirements.parse(str(text))
    for name, wanted in app.table("tool", "poetry", "dependencies").items():
        names[normal(name)] = names.get(normal(name)) or _extras(wanted)
    for member in _uv_members(app):
        for text in app.toml(member).get("project", {}).get("dependencies") or []:
            names |= requirements.parse(str(text))
    return names


def _from_lock(app: App, lock: str) -> dict[str, tuple[str, ...]]:
    """What a lock file lists, but for what only development names."""
    blocks = re.split(r"(?m)^\[\[packages?\]\]$", app.text(lock))[1:] if lock else []
    direct, development = _direct(app), _development(app)
    names: dict[str, tuple[str, ...]] = {}
    for block in blocks:
        name = re.search(r'(?m)^name = "([^"]+)"', block)
        groups = re.search(r"(?m)^groups = (\[.*\])", block)
        main = groups is None or '"main"' in groups[1] or '"default"' in groups[1]
        if name and main and (normal(name[1]) in direct or normal(name[1]) not in development):
            names[normal(name[1])] = direct.get(normal(name[1]), ())
    return names


def _development(app: App) -> set[str]:
    groups = [*app.table("dependency-groups").values(), app.table("tool", "uv").get("dev-dependencies") or []]
    lines = (text for group in groups if isinstance(group, list) for text in group if isinstance(text, str))
    return {name for line in lines for name in requirements.parse(line)}


def lock_command(manager: Manager) -> str:
    return _LOCK_COMMANDS.get(manager.name, "")


_MAKERS = {"uv": _uv, "poetry": _poetry, "pdm": _pdm, "pipenv": _pipenv}

"""Which package manager installs the dependencies, in which version, and with which commands."""

from __future__ import annotations

import re
from typing import NamedTuple

import ranges
from app import App
from versions import runtime_version

LOCKS = {
    "npm-shrinkwrap.json": "npm",
    "package-lock.json": "npm",
    "pnpm-lock.yaml": "pnpm",
    "yarn.lock": "yarn",
    "bun.lock": "bun",
    "bun.lockb": "bun",
}
MANAGERS = ("npm", "pnpm", "yarn", "bun")
# What tells of a manager where there is no lock file.
TRACES = {
    "pnpm-workspace.yaml": "pnpm",
    "package.json5": "pnpm",
    "package.yaml": "pnpm",
    ".pnpmfile.cjs": "pnpm",
    ".yarnrc.yml": "yarn",
    ".yarnrc": "yarn",
    "bunfig.toml": "bun",
}
BUN = "1.4.5"
CLASSIC = "1.22.22"
# The version of a lock file's format, and the last manager of those that write it.
PNPM_BY_LOCK = {"5.3": "7.33.7", "5.4": "7.33.7", "6.0": "8.15.9", "6.1": "8.15.9", "9.0": "9.15.9"}
PNPM = "10.34.9"
PNPM_BEFORE_NODE_14 = "6.35.1"  # on Node 20 it and the 7s until 7.33 reach no registry
YARN_BY_LOCK = {"4": "2.4.2", "5": "3.8.7", "6": "3.8.7"}
BERRY = "4.18.1"
# The npm for a Node that the builder's npm does not run on.
NPM_BY_NODE = {
    "<10": "6.14.18",
    "<14.17": "6.14.18",
    "<18.17": "9.9.4",
    ">=19 <20.17": "10.9.4",
    "<20.17": "10.9.4",
    ">=21 <22.9": "10.9.4",
}


class Manager(NamedTuple):
    """A package manager as the app wants it."""

    name: str
    version: str
    because: str
    lock: str = ""
    digest: str = ""  # of its package, as packageManager may name it
    path: str = ""  # of Yarn's own file in the app
    plug_n_play: bool = False

    @property
    def classic(self) -> bool:
        return self.name == "yarn" and ranges.satisfies(_lowest(self.version), "<2")

    @property
    def berry(self) -> bool:
        return self.name == "yarn" and not self.classic

    @property
    def old_npm(self) -> bool:
        """Whether it is an npm with other options than today's."""
        return self.name == "npm" and ranges.satisfies(_lowest(self.version), "<7")

    @property
    def linker(self) -> str:
        """How Yarn since 2 lays out what it installs."""
        return ("pnp" if self.plug_n_play else "node-modules") if self.berry else ""

    def run(self, script: str) -> str:
        return f"{self.name} run {script}"


def choose(app: App, node: str, npm: str) -> tuple[Manager, list[str]]:
    """The manager, and what is wrong with what the app says of it. ``node`` and ``npm`` are versions."""
    locks = [name for name in LOCKS if app.has(name)]
    name, asked, because = _named(app)
    problems = []
    if name and name not in MANAGERS:
        problems.append(f"'{name}' in {because} is not a known package manager. Name one of {', '.join(MANAGERS)}.")
        return Manager("npm", npm, because), problems
    kinds = list(dict.fromkeys(LOCKS[lock] for lock in locks))
    if name and kinds and name not in kinds:
        problems.append(
            f"{because} names {name}, and the lock file {locks[0]} is one of {kinds[0]}. "
            f"Commit the lock file of {name}, or name {kinds[0]}."
        )
    if not name and len(kinds) > 1:
        problems.append(
            f"There are lock files of {' and '.join(kinds)}: {', '.join(locks)}. Delete those that are not used, "
            "or name the package manager in packageManager of package.json."
        )
    name, because = (name, because) if name else _traced(app, locks)
    lock = next((lock for lock in locks if LOCKS[lock] == name), "")
    manager = _version(app, Manager(name, "", because, lock), asked, node, npm)
    if manager.version and not ranges.valid(manager.version):
        right = f"{name}@{_default(app, manager, node, npm)}"
        problems.append(f"'{manager.version}' in {because} is not a version of {name}. Write one such as '{right}'.")
    return manager, problems


def _named(app: App) -> tuple[str, str, str]:
    """Name, version (with a digest perhaps) and where the app names them."""
    named = app.manifest.get("packageManager")
    if isinstance(named, str) and named.strip():
        name, _, version = named.strip().partition("@")
        return name, version, f"packageManager in {app.manifest_name}"
    entry = app.table("devEngines").get("packageManager")
    for item in entry if isinstance(entry, list) else [entry]:
        if isinstance(item, dict) and isinstance(item.get("name"), str):
            return (
                item["name"],
                runtime_version(entry, item["name"]),
                f"devEngines.packageManager in {app.manifest_name}",
            )
    return "", "", ""


def _traced(app: App, locks: list[str]) -> tuple[str, str]:
    if locks:
        return LOCKS[locks[0]], f"of {locks[0]}"
    if trace := app.first(*TRACES):
        return TRACES[trace], f"of {trace}"
    engines = [name for name in MANAGERS if _engine(app, name)]
    if len(engines) == 1:
        return engines[0], f"of engines.{engines[0]} in {app.manifest_name}"
    return "npm", "no file names another one"


def bun_beside(app: App, manager: Manager) -> str:
    """The bun for the scripts of an app that another manager installs; empty where bun is installed anyway."""
    return "" if manager.name == "bun" or app.uses("bun") else _engine(app, "bun") or BUN


def _engine(app: App, name: str) -> str:
    asked = app.table("engines").get(name)
    return asked.strip() if isinstance(asked, str) and ranges.valid(asked.strip()) else ""


def _version(app: App, manager: Manager, asked: str, node: str, npm: str) -> Manager:
    asked, _, digest = asked.partition("+")
    name, because, path = manager.name, manager.because, ""
    default = _default(app, manager, node, npm)
    if name == "yarn" and (found := re.search(r"(?m)^yarnPath:\s*['\"]?([^'\"\s]+)", app.text(".yarnrc.yml"))):
        path = found[1].removeprefix("./")
        numbers = re.search(r"\d+\.\d+\.\d+", path)
        version, because = numbers[0] if numbers else default, "yarnPath in .yarnrc.yml"
    elif asked and asked not in ("*", "latest"):
        version = asked if name != "npm" or not ranges.satisfies(npm, asked) else npm
    elif (
        (engine := _engine(app, name)) and not ranges.satisfies(default, engine) and not _is_older(app, manager, engine)
    ):
        version, because = engine, f"{because}; engines.{name} asks for {engine}"
    else:
        version = default
    chosen = Manager(name, version, because, manager.lock, digest, path)
    return Manager(name, version, because, manager.lock, digest, path, plug_n_play=chosen.berry and _plug_n_play(app))


def _is_older(app: App, manager: Manager, engine: str) -> bool:
    """Whether the lock file is of a Yarn since 2, which an older one cannot read."""
    return "__metadata:" in app.text(manager.lock)[:1000] and ranges.satisfies(_lowest(engine), "<2")


def _default(app: App, manager: Manager, node: str, npm: str) -> str:
    text = app.text(manager.lock)[:1000] if manager.lock else ""
    match manager.name:
        case "npm":
            return next(
                (older for range_, older in NPM_BY_NODE.items() if ranges.satisfies(_lowest(node), range_)), npm
            )
        case "bun":
            return BUN
        case "pnpm":
            return _default_pnpm(app, text, node)
    if "# yarn lockfile v1" in text:
        return CLASSIC
    if found := re.search(r"(?m)^__metadata:\s+version: (\d+)", text):
        return YARN_BY_LOCK.get(found[1], BERRY)
    return BERRY if app.has(".yarnrc.yml") else CLASSIC


def _default_pnpm(app: App, lock: str, node: str) -> str:
    found = re.search(r"(?m)^lockfileVersion: '?([\d.]+)", lock)
    version = PNPM_BY_LOCK.get(found[1] if found else "", PNPM)
    if version.startswith("7.") and ranges.satisfies(_lowest(node), "<14.6"):
        return PNPM_BEFORE_NODE_14
    return PNPM if version == PNPM_BY_LOCK["9.0"] and _workspace_settings(app) else version


def _workspace_settings(app: App) -> bool:
    """Whether pnpm-workspace.yaml holds settings, which pnpm 9 does not read there."""
    keys = re.findall(r"(?m)^([A-Za-z]+):", app.text("pnpm-workspace.yaml"))
    return any(key not in ("packages", "catalog", "catalogs") for key in keys)


def _plug_n_play(app: App) -> bool:
    linker = app.config.get("YARN_NODE_LINKER", "")
    found = re.search(r"(?m)^nodeLinker:\s*['\"]?([\w-]+)", app.text(".yarnrc.yml"))
    return (linker or (found[1] if found else "pnp")) == "pnp"


def _lowest(text: str) -> str:
    """A version of a range: the one that its first number stands for."""
    found = re.search(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", text)
    return ".".join(part or "0" for part in found.groups()) if found else "999.0.0"

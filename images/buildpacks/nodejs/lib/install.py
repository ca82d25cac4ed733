"""The commands that install and prune, and whether an installed tree may be kept from build to build."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import ranges
from app import MANIFESTS, App, WrongFileError, read_manifest
from managers import Manager
from patches import find_patches

# Scripts of a package that its manager runs while installing. They read files that are in no key.
OWN_SCRIPTS = {
    "preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare", "dependencies",
    "pnpm:devPreinstall",
}  # fmt: skip
# Those that npm runs when all is installed, in its order; `npm run` of a middle one runs those around it.
_AFTERWARDS = (
    ("preinstall", "install", "postinstall"),
    ("", "prepublish", ""),
    ("preprepare", "prepare", "postprepare"),
)
_COMPILES = "npm exec -c 'node-gyp rebuild'"
# Files that decide what is installed, beside the manifests and the lock file.
SETTINGS = (
    ".npmrc", ".yarnrc", ".yarnrc.yml", ".pnpmfile.cjs", ".pnpmfile.mjs", "pnpm-workspace.yaml", "bunfig.toml",
    "patches", ".yarn/patches", ".yarn/plugins", ".yarn/releases",
)  # fmt: skip
_OF_DEVELOPMENT = {
    "NPM_CONFIG_PRODUCTION",
    "NPM_CONFIG_OMIT",
    "NPM_CONFIG_ONLY",
    "NPM_CONFIG_PROD",
    "PNPM_CONFIG_PROD",
    "YARN_PRODUCTION",
}
# Config vars that keep development dependencies
_KEPT_BY = {
    "NPM_CONFIG_PRODUCTION": "false", "YARN_PRODUCTION": "false", "PNPM_SKIP_PRUNING": "true",
    "YARN2_SKIP_PRUNING": "true",
}  # fmt: skip
_LEFT_OUT = {"node_modules", ".git", ".yarn", "vendor"}
_MOST_MANIFESTS = 2000


class Packages(NamedTuple):
    """The app's own packages: its root, and those of its workspaces."""

    manifests: dict[str, dict[str, Any]]  # by path below the root
    workspaces: bool

    @property
    def development(self) -> bool:
        return any(manifest.get("devDependencies") for manifest in self.manifests.values())

    def own_scripts(self) -> list[str]:
        """Each as ``package.json: postinstall``."""
        scripts = {path: manifest.get("scripts") for path, manifest in self.manifests.items()}
        named = ((path, script) for path, table in scripts.items() if isinstance(table, dict) for script in table)
        return [f"{path}: {script}" for path, script in named if script in OWN_SCRIPTS]

    def local(self) -> list[str]:
        """Dependencies that are files or folders of the app, whose content is in no key."""
        found = []
        for manifest in self.manifests.values():
            for key in ("dependencies", "devDependencies", "optionalDependencies", "resolutions", "overrides"):
                table = manifest.get(key)
                for name, wanted in (table if isinstance(table, dict) else {}).items():
                    if isinstance(wanted, str) and re.match(r"(file|portal|exec|\.{0,2}/|~/)", wanted):
                        found.append(name)
        return found


def read_packages(app: App) -> Packages:
    manifests = {app.manifest_name: app.manifest}
    workspaces = bool(app.manifest.get("workspaces")) or "packages:" in app.text("pnpm-workspace.yaml")
    if workspaces:
        for path in _below(app.root):
            try:
                manifests[path] = read_manifest(app.root / path)
            except WrongFileError:
                continue  # a manager that reads this one says so itself
    return Packages(manifests, workspaces)


def _below(root: Path) -> list[str]:
    found: list[str] = []
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in _LEFT_OUT)
        relative = Path(folder).relative_to(root)
        found += [str(relative / name) for name in MANIFESTS if name in files and relative != Path()]
        if len(found) > _MOST_MANIFESTS:
            break
    return found


def install(app: App, manager: Manager, *, makes_lock: bool = False) -> str:
    """The command, or nothing for a plain program without a manifest."""
    if not app.has(app.manifest_name):
        return ""
    locked = bool(manager.lock)
    if manager.berry:
        return f"yarn install --{'immutable' if locked else 'no-immutable'}"
    command, development = {
        "npm": (f"npm {_npm_install(manager, makes_lock=makes_lock)}", _with_development(manager)),
        "pnpm": (f"pnpm install --{'' if locked else 'no-'}frozen-lockfile", " --prod=false"),
        "yarn": (f"yarn install{_classic_lock(manager, makes_lock=makes_lock)}", " --production=false"),
        "bun": ("bun install --frozen-lockfile" if locked else "bun install", ""),
    }[manager.name]
    return command + _unless_asked(app, development)


def makes_lock(app: App, manager: Manager, not_kept: str) -> bool:
    """Whether the lock file that the installing makes is kept for the day, because what it installs is not."""
    return bool(not_kept) and not manager.lock and app.config.get("NODE_MODULES_CACHE") != "false"


def made_locks(manager: Manager, *, makes_lock: bool = False) -> list[str]:
    """The lock files that the installing may write into an app without one."""
    if manager.lock or ((manager.classic or manager.name == "npm") and not makes_lock):
        return []
    names = {
        "npm": ["package-lock.json"],
        "pnpm": ["pnpm-lock.yaml"],
        "yarn": ["yarn.lock"],
        "bun": ["bun.lock", "bun.lockb"],
    }
    return names[manager.name]


def _with_development(manager: Manager) -> str:
    """npm before 7 does not know the option of the later ones, and leaves them out without a message."""
    return " --production=false" if manager.old_npm else " --include=dev"


def _npm_install(manager: Manager, *, makes_lock: bool) -> str:
    return "ci" if manager.lock else "install" if makes_lock else "install --no-package-lock"


def _classic_lock(manager: Manager, *, makes_lock: bool) -> str:
    return " --frozen-lockfile" if manager.lock else "" if makes_lock else " --no-lockfile"


def _unless_asked(app: App, option: str) -> str:
    """Development dependencies are installed, for the build, unless a config var says something of them."""
    named = {name.upper() for name in app.config}
    return "" if named & _OF_DEVELOPMENT else option


def prune(app: App, manager: Manager, packages: Packages, needed: str, *, makes_lock: bool = False) -> tuple[str, str]:
    """The command that drops development dependencies, or why there is none."""
    if not packages.development:
        return "", "there are no development dependencies"
    if needed:
        return "", f"the start needs {needed}, which is a development dependency"
    for name, value in _KEPT_BY.items():
        if app.config.get(name) == value:
            return "", f"{name} is {value}"
    if app.config.get("NODE_ENV", "production") != "production":
        return "", "NODE_ENV is not production"
    why_not = _why_not_pruned(app, manager, packages)
    return ("", why_not) if why_not else (_prune(manager, packages, makes_lock=makes_lock), "")


def _why_not_pruned(app: App, manager: Manager, packages: Packages) -> str:
    if manager.name == "bun":
        return "bun has no command for it"
    if manager.berry and packages.own_scripts():
        return "Yarn would run the app's own install scripts again, without what they need"
    if manager.berry and ranges.satisfies(manager.version, "<4") and "workspace-tools" not in app.text(".yarnrc.yml"):
        return "Yarn before 4 needs its plugin workspace-tools for it"
    return ""


def _prune(manager: Manager, packages: Packages, *, makes_lock: bool) -> str:
    if manager.berry:
        return "yarn workspaces focus --all --production"
    if manager.classic:
        lock = _classic_lock(manager, makes_lock=makes_lock)
        return f"yarn install --production --ignore-scripts --prefer-offline{lock}"
    if manager.name == "pnpm" and packages.workspaces:
        frozen = "" if manager.lock else "no-"
        return f"pnpm install --prod --ignore-scripts --prefer-offline --{frozen}frozen-lockfile"
    if manager.name == "pnpm":
        return "pnpm prune --prod --ignore-scripts"
    # As the installing: a lock file that only the first build wrote would be in no image that comes from the cache.
    lock = "" if manager.lock or makes_lock else " --no-package-lock"
    return f"npm prune --{'production' if manager.old_npm else 'omit=dev'}{lock}"


def apart(app: App, manager: Manager, packages: Packages) -> list[str]:
    """The commands of the app's own install scripts, where they can be steps, on a tree from the cache too."""
    own = {f"{app.manifest_name}: {name}" for group in _AFTERWARDS for name in group}
    if manager.name != "npm" or manager.old_npm:
        return []
    if not own.issuperset(packages.own_scripts()) or _ignores_scripts(app):
        return []
    groups = ([middle] if middle in app.scripts else [first, last] for first, middle, last in _AFTERWARDS)
    # As npm's own `--include=dev` says it to what its scripts call, such as the `npm install` of another folder.
    option = _unless_asked(app, " --include=dev")
    named = [f"npm run {name}{option}" for group in groups for name in group if name in app.scripts]
    return [*([_COMPILES] if _is_compiled(app) else []), *named]


def _is_compiled(app: App) -> bool:
    """Whether npm compiles the app itself, as a native module that says nothing else of its install."""
    told = "install" in app.scripts or "preinstall" in app.scripts or app.manifest.get("gypfile") is False
    return bool(app.has("binding.gyp")) and not told


def _ignores_scripts(app: App) -> bool:
    named = {name.upper() for name in app.config}
    return "NPM_CONFIG_IGNORE_SCRIPTS" in named or "ignore-scripts" in app.text(".npmrc")


def why_not_kept(app: App, manager: Manager, packages: Packages) -> str:
    """Why the installed tree is made anew in each build; empty if it may come from the cache."""
    local, separate = packages.local(), apart(app, manager, packages)
    own = [] if separate else packages.own_scripts()
    reasons = {
        "the app brings the archives for Plug'n'Play": manager.plug_n_play and (app.root / ".yarn/cache").is_dir(),
        f"the app's own scripts run in every build ({', '.join(own)})": own,
        "binding.gyp is compiled in every build": app.has("binding.gyp") and not separate,
        f"{', '.join(local)} is a part of the app": local,
        "Prisma makes its client of the app's schema while it is installed": _generates_unasked(app),
        "Plug'n'Play keeps its files elsewhere": manager.plug_n_play and _places_pnp(app),
        "NODE_MODULES_CACHE is false": app.config.get("NODE_MODULES_CACHE") == "false",
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _generates_unasked(app: App) -> bool:
    """Whether Prisma's own install script makes its client, and no script of the app that runs in every build does."""
    every = OWN_SCRIPTS | {"prebuild", "build", "postbuild", "heroku-prebuild", "heroku-postbuild"}
    asked = any("prisma generate" in text for name, text in app.scripts.items() if name in every)
    return app.uses("@prisma/client") and not asked


def _places_pnp(app: App) -> bool:
    names = ("cacheFolder", "pnpUnpluggedFolder", "pnpDataPath", "enableGlobalCache: true")
    named = {name.upper().replace("_", "") for name in app.config}
    return any(name in app.text(".yarnrc.yml") or f"YARN{name.upper()}" in named for name in names)


def inputs(app: App, manager: Manager, packages: Packages) -> list[str]:
    """The app's files that decide what is installed."""
    named = [name for name in SETTINGS if (app.root / name).exists()]
    own = find_patches(app.root, packages.manifests, app.text("pnpm-workspace.yaml"))
    return [*packages.manifests, *([manager.lock] if manager.lock else []), *named, *own]

"""What of Composer's work may be kept for the next build, and what decides whether it is still right."""

from __future__ import annotations

import json
import re
from posixpath import normpath

TYPE_CHECKING = False  # of typing, whose import takes 4 ms of every build
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from planning.app import App

# Composer's own commands for the app, at the times when an install can call them
_EVENT = re.compile(
    r"(pre|post)-(install|update|autoload|package|pool|operations|file|command|dependencies|root)-.*|init|command"
)
# Config vars by which Composer reads other files, or installs elsewhere
_ELSEWHERE = {"COMPOSER", "COMPOSER_VENDOR_DIR"}
_NAME_MAX = 200
_REMOTE = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*://|[^/@]+@[^/:]+:", re.IGNORECASE)
_PLUGINS = ("composer-plugin", "composer-installer")
# What plugins that patch packages read of the app, beside what "extra" names
_PATCHES = ("patches.json", "patches.lock.json", "composer.patches.json", "patches")


def choose(app: App, manifest: dict[str, Any], packages: list[dict[str, Any]]) -> dict[str, Any]:
    """``kept``: the tree of packages. ``whole``: also its autoloader, so that Composer need not be started at all."""
    settings = _map(manifest.get("config"))
    vendor = str(settings.get("vendor-dir", "vendor"))
    locked = bool(app.has("composer.lock"))
    brings = [_place(one) for one in packages if _is_brought(one)]
    code = _autoloaded(manifest)
    # What the app brings of it can be another under the same lock file.
    there = (_is_inside(vendor) and (app.root / vendor).exists()) or bool(_ELSEWHERE & app.config.keys())
    plain = all(map(_is_inside, [vendor, *brings])) and not there and (locked or not _brings_packages(manifest))
    whole = plain and all(map(_is_inside, code)) and not _calls_others(manifest, packages)
    # With a repository, Composer writes down what the app's commit is.
    elsewhere = (app.root / ".git").exists() or "bin-dir" in settings or "COMPOSER_BIN_DIR" in app.config
    return {
        "kept": plain and bool(packages),
        "whole": whole and not elsewhere,
        "daily": not locked,
        "vendor": vendor,
        "inputs": [*brings, *(_read_by_plugins(app, manifest) if _plugins(packages) else [])],
        "code": code,
    }


def _calls_others(manifest: dict[str, Any], packages: list[dict[str, Any]]) -> bool:
    """Whether an install runs programs of the app, or plugins, which may do anything."""
    events = any(map(_EVENT.fullmatch, _map(manifest.get("scripts"))))
    return events or bool(_plugins(packages))


def _plugins(packages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in packages if one.get("type") in _PLUGINS]


def _read_by_plugins(app: App, manifest: dict[str, Any]) -> list[str]:
    """Files and folders of the app that decide what plugins make of packages, such as patches."""
    named = {*_strings(manifest.get("extra")), *_PATCHES}
    for name in [name for name in named if name.endswith(".json") and _is_inside(name)]:
        try:
            named.update(_strings(json.loads(app.text(name))))
        except ValueError:
            continue  # the plugin says so itself
    return sorted(name for name in map(normpath, named) if _is_inside(name) and _is_patch(app.root / name))


def _is_patch(path: Path) -> bool:
    """A file, or a folder of patches: others, such as web-root, are the app's code and public folders."""
    return path.is_file() or (path.is_dir() and any(one.suffix in (".patch", ".diff") for one in path.rglob("*")))


def _strings(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value} if value and len(value) < _NAME_MAX and "\0" not in value else set()
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(_strings, parts))


def _autoloaded(manifest: dict[str, Any]) -> list[str]:
    """The app's own files and folders that its autoloader is made of."""
    autoload = _map(manifest.get("autoload"))
    found: set[str] = set()
    for kind in ("psr-4", "psr-0"):
        for named in _map(autoload.get(kind)).values():
            found.update(map(str, named if isinstance(named, list) else [named]))
    for kind in ("classmap", "files"):
        named = autoload.get(kind)
        found.update(map(str, named if isinstance(named, list) else []))
    return sorted(map(normpath, found))


def _is_inside(path: str) -> bool:
    """Whether this is one path in the app, and not the app itself, nor a pattern."""
    parts = path.strip("/").split("/")
    return not path.startswith("/") and not set(parts) & {"", ".", ".."} and not re.search(r"[*?\[{$~]", path)


def _is_brought(package: dict[str, Any]) -> bool:
    """Whether it is a folder or an archive of the app, whose content can be another under the same lock file."""
    dist = _map(package.get("dist"))
    return dist.get("type") == "path" or _is_local(dist.get("url"))


def _is_local(url: Any) -> bool:
    return isinstance(url, str) and not _REMOTE.match(url)


def _place(package: dict[str, Any]) -> str:
    url = str(_map(package.get("dist")).get("url", ".."))
    return ".." if url.lower().startswith("file:") else normpath(url)


def _brings_packages(manifest: dict[str, Any]) -> bool:
    """Whether a repository is in the app."""
    return any(_is_local(one.get("url")) or any(map(_is_brought, _inline(one))) for one in _repositories(manifest))


def _repositories(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    named = manifest.get("repositories")
    listed = list(named.values()) if isinstance(named, dict) else named if isinstance(named, list) else []
    return list(map(_map, listed))


def _inline(repository: dict[str, Any]) -> list[dict[str, Any]]:
    """The packages that a repository of the type "package" consists of."""
    named = repository.get("package")
    return list(map(_map, named if isinstance(named, list) else [named]))


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

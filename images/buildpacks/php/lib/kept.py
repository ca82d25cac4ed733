"""What of Composer's work may be kept for the next build, and what decides whether it is still right."""

from __future__ import annotations

import re
from posixpath import normpath
from typing import Any

from planning.app import App

# Composer's own commands for the app, at the times when an install can call them
_EVENT = re.compile(
    r"(pre|post)-(install|update|autoload|package|pool|operations|file|command|dependencies|root)-.*|init|command"
)
_PLACES = {"COMPOSER", "COMPOSER_BIN_DIR", "COMPOSER_VENDOR_DIR"}
_PLUGINS = ("composer-plugin", "composer-installer")


def choose(app: App, manifest: dict[str, Any], packages: list[dict[str, Any]]) -> dict[str, Any]:
    """``kept``: the tree of packages. ``whole``: also its autoloader, so that Composer need not be started at all."""
    settings = _map(manifest.get("config"))
    vendor = str(settings.get("vendor-dir", "vendor"))
    locked = bool(app.has("composer.lock"))
    folders = [normpath(str(_map(one.get("dist")).get("url", ".."))) for one in packages if _is_folder(one)]
    code = _autoloaded(manifest)
    # What the app brings of it can be another under the same lock file.
    brought = _is_inside(vendor) and (app.root / vendor).exists()
    plain = all(map(_is_inside, [vendor, *folders])) and not brought and (locked or not _uses_folders(manifest))
    whole = plain and all(map(_is_inside, code)) and not _calls_others(manifest, packages)
    # With a repository, Composer writes down what the app's commit is.
    elsewhere = (app.root / ".git").exists() or "bin-dir" in settings or bool(_PLACES & app.config.keys())
    return {
        "kept": plain and bool(packages),
        "whole": whole and not elsewhere,
        "daily": not locked,
        "vendor": vendor,
        "inputs": folders,
        "code": code,
    }


def _calls_others(manifest: dict[str, Any], packages: list[dict[str, Any]]) -> bool:
    """Whether an install runs programs of the app, or plugins, which may do anything."""
    events = any(map(_EVENT.fullmatch, _map(manifest.get("scripts"))))
    return events or any(one.get("type") in _PLUGINS for one in packages)


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


def _is_folder(package: dict[str, Any]) -> bool:
    return _map(package.get("dist")).get("type") == "path"


def _uses_folders(manifest: dict[str, Any]) -> bool:
    named = manifest.get("repositories")
    listed = list(named.values()) if isinstance(named, dict) else named if isinstance(named, list) else []
    return any(_map(one).get("type") == "path" for one in listed)


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

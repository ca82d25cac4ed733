"""Programs that pyproject.toml names: they are in the virtual environment where the project is installed."""

from __future__ import annotations

import re

from python_plan.app import App

# What a script is called that is the app's server, be there others beside it
_CLEAR = ("start", "serve", "server", "web")


def clear(app: App, *, installed: bool) -> tuple[str, str] | None:
    """The script that is called like a start: its command, and what it was chosen by."""
    scripts = _scripts(app)
    return next((found for name in _CLEAR if name in scripts and (found := _found(app, name, installed))), None)


def only(app: App, *, installed: bool) -> tuple[str, str] | None:
    """The only script, whatever it is called, or the one with the name of the project."""
    scripts = _scripts(app)
    own = str(app.table("project").get("name") or app.table("tool", "poetry").get("name") or "")
    name = next(iter(scripts)) if len(scripts) == 1 else own
    return _found(app, name, installed) if name in scripts else None


def _scripts(app: App) -> dict[str, str]:
    named = {**app.table("tool", "poetry", "scripts"), **app.table("project", "scripts")}
    return {name: target for name, target in named.items() if isinstance(target, str)}


def _found(app: App, name: str, installed: bool) -> tuple[str, str] | None:
    because = f"the script {name} in pyproject.toml"
    if installed:
        return name, because
    target = re.fullmatch(r"([\w.]+):(\w+)", _scripts(app)[name])
    place = target[1].replace(".", "/") if target else ""
    if target is None or not app.first(f"{place}.py", f"{place}/__init__.py"):
        return None
    return f"python -c 'from {target[1]} import {target[2]}; {target[2]}()'", because

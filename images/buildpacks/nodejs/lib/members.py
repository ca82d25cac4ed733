"""How an app starts whose root only holds workspaces together: by the one of them that is a server or a site."""

from __future__ import annotations

import shlex
from typing import Any, NamedTuple

from app import App
from managers import Manager
from starts import DEVELOPMENT, Start, unadapted


class Member(NamedTuple):
    """A workspace that says how it is started."""

    folder: str
    scripts: dict[str, Any]


class Found(NamedTuple):
    """The member that is started, if it is known which, and all that could be."""

    member: Member | None
    all: list[Member]


def find(app: App, manager: Manager, manifests: dict[str, dict[str, Any]]) -> Found:
    """``manifests`` are the app's by path. Plug'n'Play leaves no programs that a workspace could call."""
    members = [
        Member(path.rpartition("/")[0], scripts)
        for path, manifest in manifests.items()
        if "/" in path and isinstance(scripts := manifest.get("scripts"), dict) and _starts(scripts.get("start"))
    ]
    if manager.plug_n_play or app.scripts.get("start") or app.processes:
        return Found(None, [])
    web = [member for member in members if member.folder.rpartition("/")[2] == "web"]
    return Found(next((few[0] for few in (members, web) if len(few) == 1), None), members)


def _starts(script: Any) -> bool:
    """Whether it is a script, and no server of sources for a developer."""
    return isinstance(script, str) and bool(script.strip()) and not DEVELOPMENT.search(script)


def start(app: App, found: Found) -> Start | None:
    if not found.member or unadapted(app):
        return None
    folder = shlex.quote(found.member.folder)
    return Start(f"cd {folder} && npm start", f"the workspace {folder}", steps=_build(app, found.member))


def _build(app: App, member: Member) -> tuple[str, ...]:
    """Its build script, where the root has none that builds all of them."""
    return (
        () if app.builds or not member.scripts.get("build") else (f"cd {shlex.quote(member.folder)} && npm run build",)
    )


def warning(found: Found) -> str:
    """What to do where several could be the web server; nothing otherwise."""
    if found.member or len(found.all) < 2:
        return ""
    folders = [member.folder for member in found.all]
    return (
        f"Which of the workspaces {', '.join(folders)} is the web server is unknown. Name it in a Procfile: "
        f"'web: cd {folders[0]} && npm start'."
    )

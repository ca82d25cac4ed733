"""Where TypeScript's own compiler puts a program, which is what runs in production."""

from __future__ import annotations

import re

from app import BUILDS, App

_COMMENTS = r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/'  # and strings, which may hold what looks like one
_ENDINGS = {"ts": "js", "mts": "mjs", "cts": "cjs"}


def output(app: App, source: str) -> str:
    """The program that the build makes of this file; nothing if it makes none."""
    stem, _, ending = source.rpartition(".")
    scripts = " ".join(app.scripts.get(name, "") for name in BUILDS)
    settings = re.sub(_COMMENTS, r"\1", app.text("tsconfig.json"), flags=re.DOTALL)
    called = re.search(r"(?<![\w-])tsc\b([^&|;]*)", scripts)
    if ending not in _ENDINGS or not called or re.search(r'"(noEmit|emitDeclarationOnly)"\s*:\s*true', settings):
        return ""
    # What another file or the command decides is not known: the source itself is started then.
    if re.search(
        r"--(noEmit|emitDeclarationOnly|outDir|outFile)\b|(^|\s)(-p|--project|-b|--build)\s+(?!-|(\./?)?(tsconfig\.json)?\s*$)",
        called[1],
    ):
        return ""
    folder = _folder(settings, "outDir")
    if not folder and '"extends"' in settings:
        return ""
    return f"{folder}/{_below(app, settings, stem) if folder else stem}.{_ENDINGS[ending]}".lstrip("/")


def _folder(settings: str, name: str) -> str:
    found = re.search(rf'"{name}"\s*:\s*"(?:\./)?([^"]*)"', settings)
    return found[1].strip("/").removeprefix(".") if found else ""


def _below(app: App, settings: str, stem: str) -> str:
    """The path below the folder that holds all sources, which is what the compiler keeps of it."""
    root = _folder(settings, "rootDir") if '"rootDir"' in settings else _common(app, settings)
    return stem.removeprefix(f"{root}/") if root else stem


def _common(app: App, settings: str) -> str:
    """``src`` where no source is outside of it."""
    included = re.search(r'"include"\s*:\s*\[([^\]]*)\]', settings)
    if included:
        return "src" if all(name.startswith("src") for name in re.findall(r'"(?:\./)?([^"]+)"', included[1])) else ""
    return "" if any(re.search(r"(?<!\.d)\.[mc]?ts$", path.name) for path in app.root.iterdir()) else "src"

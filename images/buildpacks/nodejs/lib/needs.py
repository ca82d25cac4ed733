"""What of the development dependencies an app needs when it runs."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from app import App

# The programs of a package, where they are not called as it is.
PROGRAMS = {
    "nest": "@nestjs/cli", "ng": "@angular/cli", "remix-serve": "@remix-run/serve", "tsc": "typescript",
    "react-router-serve": "@react-router/serve", "babel-node": "@babel/node", "strapi": "@strapi/strapi",
}  # fmt: skip


# What only starts another program
RUNNERS = {"npx", "bunx", "pnpx", "exec", "dlx", "yarn", "pnpm", "bun", "run", "env"}


def find(app: App, commands: dict[str, str], manifests: dict[str, dict[str, Any]]) -> str:
    """A development dependency whose program a process is started with, by the app itself or by a workspace of it."""
    if package := _needed(app, commands, set(app.development)):
        return package
    told = all_scripts(app, commands)
    for path, manifest in manifests.items():
        if "/" in path and (named := [text for text in told if _runs(text, path.rpartition("/")[0], manifest)]):
            member = App((app.root / path).parent)
            called = {word for text in named for word in re.findall(r"[\w:.-]+", text)}
            scripts = {name: text for name, text in member.scripts.items() if name in called}
            development = {*app.development, *member.development} - member.dependencies.keys()
            if package := _needed(member, scripts, development):
                return package
    return ""


def _runs(command: str, folder: str, manifest: dict[str, Any]) -> bool:
    """Whether a command runs something of this workspace: it names its folder, its package, or all of them."""
    if re.search(r"\s(-r|--recursive|-ws|--workspaces)(?!\S)|\blerna\b", command):
        return True
    names = [name for name in (folder, manifest.get("name")) if isinstance(name, str) and name]
    return any(re.search(rf"(?<![\w@/-]){re.escape(name)}(?![\w-])", command) for name in names)


def _needed(app: App, commands: dict[str, str], development: set[str]) -> str:
    for command in all_scripts(app, commands):
        for part in re.split(r"[;&|]+", command):
            for word in called(part.split()):
                name = "/".join(word.split("/")[: 2 if word.startswith("@") else 1])
                if (package := PROGRAMS.get(name, name)) in development:
                    return package
    return ""


def called(words: list[str]) -> list[str]:
    """The words of a simple command that may name packages: its program, and what Node is to load before."""
    programs = [word for word in words if not re.match(r"[A-Za-z_]+=|-", word) and word not in RUNNERS]
    loaded = [after for word, after in pairwise(words) if word in ("-r", "--require", "--import", "--loader")]
    return [*programs[:1], *loaded]


def all_scripts(app: App, commands: dict[str, str]) -> list[str]:
    """The commands, and the scripts that they run."""
    told, left = [], list(commands.values())
    seen: set[str] = set()
    while left:
        told.append(left.pop(0))
        for name in re.findall(r"\b(?:run|npm|yarn|pnpm|bun)\s+(?:run\s+)?([\w:.-]+)", told[-1]):
            if name in app.scripts and name not in seen:
                seen.add(name)
                left += [app.scripts[part] for part in (f"pre{name}", name, f"post{name}") if part in app.scripts]
    return told

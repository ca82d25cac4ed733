"""What the app's own files say: its package.json (or pnpm's .json5 and .yaml), other files, and the config vars.

The modules of a plan are imported in every build: dataclasses, subprocess and the like would take half of its time.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

MANIFESTS = ("package.json", "package.json5", "package.yaml")
# The scripts that build an app; the first that it has counts. Google's, also an empty one, takes the place of `build`.
BUILDS = ("heroku-postbuild", "scalingo-postbuild", "apphosting:build", "gcp-build", "build")
# JSON5 is a part of JavaScript; a separate context has nothing to call.
_JSON5 = (
    "const text = require('fs').readFileSync(0, 'utf8');"
    "const found = require('vm').runInNewContext('(' + text + '\\n)', Object.create(null), {timeout: 1000});"
    "console.log(JSON.stringify(found))"
)
_YAML = "require 'yaml'; require 'json'; puts JSON.dump(YAML.safe_load(STDIN.read, aliases: true))"
_READERS = {".json5": ["node", "-e", _JSON5], ".yaml": ["ruby", "-e", _YAML]}


class WrongFileError(Exception):
    """A file of the app that cannot be read; the text is a sentence for its developer."""


class App:
    """The folder of an app and its config vars."""

    def __init__(self, root: Path, config: dict[str, str] | None = None) -> None:
        self.root, self.config = root, config or {}

    @cached_property
    def manifest_name(self) -> str:
        return next((name for name in MANIFESTS if self.has(name)), MANIFESTS[0])

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Empty for a plain program, which has none."""
        return read_manifest(self.root / self.manifest_name) if self.has(self.manifest_name) else {}

    @property
    def scripts(self) -> dict[str, str]:
        return {key: text for key, text in self.table("scripts").items() if isinstance(text, str) and text.strip()}

    @cached_property
    def builds(self) -> list[str]:
        """The scripts that run when the dependencies are there: those that Google's config var names, else one."""
        if (named := self.config.get("GOOGLE_NODE_RUN_SCRIPTS")) is not None:
            return [name.strip() for name in named.split(",") if name.strip()]
        table = self.table("scripts")
        first = next((name for name in BUILDS if name in self.scripts or (name == "gcp-build" and name in table)), "")
        return [first] if first in self.scripts else []

    @cached_property
    def dependencies(self) -> dict[str, str]:
        return self.table("dependencies") | self.table("optionalDependencies")

    @cached_property
    def development(self) -> dict[str, str]:
        """What only the build needs."""
        return {name: text for name, text in self.table("devDependencies").items() if name not in self.dependencies}

    def uses(self, *names: str) -> bool:
        return any(name in self.dependencies or name in self.development for name in names)

    def table(self, key: str) -> dict[str, Any]:
        found = self.manifest.get(key)
        return found if isinstance(found, dict) else {}

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def first(self, *names: str) -> str:
        """The first of these files that is there, or nothing."""
        return next((name for name in names if self.has(name)), "")

    def text(self, name: str) -> str:
        try:
            return (self.root / name).read_text(errors="replace")
        except OSError:
            return ""

    def code(self, stem: str) -> str:
        """A configuration in JavaScript or TypeScript, without its comments: they often name what is not chosen."""
        name = self.first(*(f"{stem}.{ending}" for ending in ("ts", "js", "mjs", "mts", "cjs", "cts", "json")))
        return re.sub(r"(?m)/\*.*?\*/|(?<![:'\"])//[^\n]*", "", self.text(name), flags=re.DOTALL)

    @cached_property
    def processes(self) -> dict[str, str]:
        """The Procfile's."""
        return dict(re.findall(r"(?m)^([A-Za-z0-9_-]+):[ \t]*(\S.*?)\s*$", self.text("Procfile")))


def read_manifest(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode().removeprefix("\N{BYTE ORDER MARK}")
        if reader := _READERS.get(path.suffix):
            text = told_by(reader, text)
        found = json.loads(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        raise WrongFileError(_invalid(path)) from None
    if not isinstance(found, dict):
        raise WrongFileError(_invalid(path))
    return found


def told_by(command: list[str], given: str = "") -> str:
    """What a program prints; nothing if it fails."""
    import subprocess  # noqa: PLC0415 - a plan takes 40 ms, and this 5 of them, which few apps need

    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _invalid(path: Path) -> str:
    kind = {".json5": "JSON5", ".yaml": "YAML"}.get(path.suffix, "JSON")
    return f"{path.name} is not valid {kind}. Check it with a linter and build again."


def read_config(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    return {path.name: path.read_text(errors="replace") for path in sorted(folder.iterdir()) if path.is_file()}

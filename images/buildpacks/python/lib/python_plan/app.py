"""What the app's own files say, and its config vars.

Files are looked at without pathlib, whose import takes as long as all the rest: 4 ms of every build.
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from typing import Any

# Folders that hold no code of the app's own.
_FOREIGN = ("node_modules", "venv", "env", "tests", "test", "docs", "static", "migrations", "__pycache__")


class WrongFileError(Exception):
    """A file of the app that cannot be used; the text is a sentence for its developer."""


class App:
    """The folder of an app and its config vars. ``system`` is where the libraries of the machine are."""

    def __init__(
        self, root: str | os.PathLike[str], config: dict[str, str] | None = None, system: str | os.PathLike[str] = "/"
    ) -> None:
        self.root, self.config, self.system = os.fspath(root), config or {}, os.fspath(system)

    def has(self, name: str) -> bool:
        return os.path.isfile(os.path.join(self.root, name))

    def has_folder(self, name: str) -> bool:
        return os.path.isdir(os.path.join(self.root, name))

    def names(self, folder: str = "") -> list[str]:
        """What is in a folder, in the order of its names; nothing if it does not exist."""
        return _names(os.path.join(self.root, folder))

    def programs(self, folder: str = "") -> list[str]:
        """The names of a folder's own Python files."""
        return [name for name in self.names(folder) if name.endswith(".py")]

    def match(self, *patterns: str) -> list[str]:
        """The files and folders that the patterns name."""
        import glob  # noqa: PLC0415 - only here: most apps need none, and its import takes 2 ms

        return [name for pattern in patterns for name in sorted(glob.glob(pattern, root_dir=self.root, recursive=True))]

    def first(self, *names: str) -> str:
        """The first of these files that is there, or nothing."""
        return next((name for name in names if self.has(name)), "")

    def text(self, name: str) -> str:
        """The text of a file, also of one that was written on Windows; nothing if it does not exist."""
        try:
            with open(os.path.join(self.root, name), "rb") as file:
                content = file.read()
        except OSError:
            return ""
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            return content.decode("utf-16", errors="replace")
        return content.decode("utf-8-sig", errors="replace")

    def toml(self, name: str) -> dict[str, Any]:
        if not self.has(name):
            return {}
        import tomllib  # noqa: PLC0415 - only here: most apps have no TOML, and its import takes 7 ms

        try:
            return tomllib.loads(self.text(name))
        except tomllib.TOMLDecodeError as wrong:
            raise WrongFileError(f"{name} is not valid TOML: {wrong}. Correct it and build again.") from None

    @cached_property
    def pyproject(self) -> dict[str, Any]:
        return self.toml("pyproject.toml")

    def table(self, *keys: str) -> dict[str, Any]:
        """A table of pyproject.toml; an empty one where it is not there."""
        found: Any = self.pyproject
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    def says(self, *keys: str) -> bool:
        """Whether pyproject.toml has this table, be it empty."""
        *outer, last = keys
        return isinstance(self.table(*outer).get(last), dict)

    @cached_property
    def folders(self) -> list[str]:
        """The folders where code of the app may start: its top, then those below it that have Python files."""
        nested = [name for name in self.names() if self._is_code(name)]
        inner = [f"src/{name}" for name in self.names("src") if self._is_code(f"src/{name}")]
        return ["", *inner, *nested]

    def _is_code(self, folder: str) -> bool:
        name = folder.rpartition("/")[2]
        return not name.startswith(".") and name not in _FOREIGN and bool(self.programs(folder))

    @cached_property
    def processes(self) -> dict[str, str]:
        """The Procfile's."""
        return dict(re.findall(r"(?m)^([A-Za-z0-9_-]+):[ \t]*(\S.*?)\s*$", self.text("Procfile")))


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def read_config(folder: str) -> dict[str, str]:
    config: dict[str, str] = {}
    for name in _names(folder):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                config[name] = file.read()
    return config


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()

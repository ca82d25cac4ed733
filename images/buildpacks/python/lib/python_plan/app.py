"""What the app's own files say, and its config vars."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

# Folders that hold no code of the app's own.
_FOREIGN = ("node_modules", "venv", "env", "tests", "test", "docs", "static", "migrations", "__pycache__")


class WrongFileError(Exception):
    """A file of the app that cannot be used; the text is a sentence for its developer."""


class App:
    """The folder of an app and its config vars. ``system`` is where the libraries of the machine are."""

    def __init__(self, root: Path, config: dict[str, str] | None = None, system: Path = Path("/")) -> None:
        self.root, self.config, self.system = root, config or {}, system

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def first(self, *names: str) -> str:
        """The first of these files that is there, or nothing."""
        return next((name for name in names if self.has(name)), "")

    def text(self, name: str) -> str:
        """The text of a file, also of one that was written on Windows; nothing if it does not exist."""
        try:
            content = (self.root / name).read_bytes()
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
        nested = [entry.name for entry in _sorted(self.root) if self._is_code(entry)]
        inner = [f"src/{entry.name}" for entry in _sorted(self.root / "src") if self._is_code(entry)]
        return ["", *inner, *nested]

    def _is_code(self, entry: Path) -> bool:
        foreign = entry.name.startswith(".") or entry.name in _FOREIGN
        return not foreign and entry.is_dir() and any(entry.glob("*.py"))

    @cached_property
    def processes(self) -> dict[str, str]:
        """The Procfile's."""
        return dict(re.findall(r"(?m)^([A-Za-z0-9_-]+):[ \t]*(\S.*?)\s*$", self.text("Procfile")))


def _sorted(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def read_config(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(errors="replace") for path in _sorted(folder) if path.is_file()}


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()

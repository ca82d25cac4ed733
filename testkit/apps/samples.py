"""The test apps of ``tests/apps``: tiny sources, each with what it must answer beside it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

APPS = Path(__file__).parents[2] / "tests" / "apps"

_NAME_LENGTH_MAX = 28


@dataclass(frozen=True)
class Change:
    """A change of the code alone, and what the app says afterwards."""

    file: str
    old: str
    new: str
    answers: str

    def apply(self, folder: Path) -> None:
        """Changes the app in this folder. Raises ValueError if the old text is not in the file."""
        path = folder / self.file
        text = path.read_text()
        if self.old not in text:
            raise ValueError(f"{self.file} does not have {self.old!r}")
        path.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True)
class App:
    """A test app: its source, and what must come of it. It has exactly one of answers, prints and fails."""

    family: str
    name: str
    folder: Path
    answers: str = ""  # in the body of GET path
    prints: str = ""  # a regular expression, found in the output of a process that does not serve
    fails: str = ""  # in the log or the failure of a build that must fail as the app's fault
    path: str = "/"
    process: str = "web"
    change: Change | None = None
    quick: bool = False  # part of `make test`
    varies: str = ""  # why two builds cannot be made equal
    scripts: str = ""  # a regular expression for headers in the log: what of the app's own runs in every build
    env: Mapping[str, str] = field(default_factory=dict)  # config vars
    needs: str = ""  # a registry that this app needs and that cannot be reached from everywhere

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.family}/{self.name}"

    @property
    def app_name(self) -> str:
        """As a farm names apps."""
        return f"{self.family}-{self.name}"[:_NAME_LENGTH_MAX].strip("-")


_OWN = {"family", "name", "folder"}
_KEYS = {item.name for item in fields(App)} - _OWN


def read_apps(directory: Path = APPS, *, family: str = "", name: str = "") -> list[App]:
    """The apps of a directory, or those of one family, or of one name. Raises ValueError with the file at fault."""
    found = sorted(directory.glob("*/*.toml"))
    apps = [_read(path) for path in found if family in ("", path.parent.name) and name in ("", path.stem)]
    _check_names(apps)
    return apps


def _read(path: Path) -> App:
    try:
        return parse_app(path.read_text(), path.with_suffix(""))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def parse_app(text: str, folder: Path) -> App:
    """What the TOML file of the app in this folder says. Raises ValueError."""
    values = tomllib.loads(text)
    if unknown := sorted(values.keys() - _KEYS):
        raise ValueError(f"unknown keys: {', '.join(unknown)}")
    if "change" in values:
        values["change"] = _change(values["change"])
    app = App(folder.parent.name, folder.name, folder, **values)
    if sum(map(bool, (app.answers, app.prints, app.fails))) != 1:
        raise ValueError("name one of answers, prints and fails")
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder.name} beside it")
    return app


def _change(values: Mapping[str, Any]) -> Change:
    wanted = {item.name for item in fields(Change)}
    if values.keys() != wanted:
        raise ValueError(f"change has the keys {', '.join(sorted(wanted))}, all of them")
    return Change(**values)


def _check_names(apps: Iterable[App]) -> None:
    """Two apps of one name on the farm would share a cache."""
    seen: dict[str, App] = {}
    for app in apps:
        if (other := seen.setdefault(app.app_name, app)) is not app:
            raise ValueError(f"{app.label} and {other.label} are both named {app.app_name} on the farm")

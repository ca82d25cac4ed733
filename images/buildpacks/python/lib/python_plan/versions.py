"""Which Python an app asks for: versions and ranges, as PEP 440 and Poetry write them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from python_plan.app import App

Version = tuple[int, ...]

_CLAUSE = re.compile(r"(===|==|~=|!=|<=|>=|<|>|\^|~|=)?\s*v?(\d+(?:\.\d+)*)(\.[*x])?((?:a|b|rc)\d+)?$")
_PINS = (".python-version", "runtime.txt")
_ANY = ("latest", "system")  # what other tools take for whatever they have


class Clause(NamedTuple):
    """One condition. ``prefix``: the version counts for all that begin with it."""

    operator: str
    version: Version
    prefix: bool

    def holds(self, version: Version) -> bool:
        length = max(len(version), len(self.version))
        mine, other = _padded(self.version, length), _padded(version, length)
        match self.operator:
            case ">=":
                return other >= mine
            case "<=":
                return other <= mine
            case "<":
                return other < mine
            case ">":
                return other > mine
        equal = version[: len(self.version)] == self.version if self.prefix else other == mine
        return equal if self.operator == "==" else not equal

    def __str__(self) -> str:
        return f"{self.operator}{'.'.join(map(str, self.version))}{'.*' if self.prefix else ''}"


def read_range(text: str) -> list[list[Clause]] | None:
    """The alternatives of a range, each with the conditions that must all hold; None if this is not a range."""
    alternatives = [_read_clauses(part) for part in text.split("||")]
    found = [clauses for clauses in alternatives if clauses is not None]
    return found if len(found) == len(alternatives) else None


def satisfies(version: str, alternatives: list[list[Clause]]) -> bool:
    number = tuple(map(int, version.split(".")))
    return any(all(clause.holds(number) for clause in clauses) for clauses in alternatives)


def _read_clauses(text: str) -> list[Clause] | None:
    words = re.sub(r"(?<=[<>=~^!])\s+", "", text).replace(",", " ").split()
    clauses: list[Clause] = []
    for word in words:
        found = _CLAUSE.match(word)
        if found is None and word != "*":
            return None
        if found is not None:
            clauses += _clauses(found[1] or "", tuple(map(int, found[2].split("."))), bool(found[3]))
    return clauses


def _clauses(operator: str, version: Version, wildcard: bool) -> list[Clause]:
    match operator:
        case "^":
            return [Clause(">=", version, False), Clause("<", _raised(version, 1), False)]
        case "~":
            return [Clause(">=", version, False), Clause("<", _raised(version, 2), False)]
        case "~=":
            return [Clause(">=", version, False), Clause("==", version[:-1], True)]
        case "" | "=":
            return [Clause("==", version, wildcard or len(version) < 3)]
        case "===":
            return [Clause("==", version, False)]
    return [Clause(operator, version, wildcard)]


def _raised(version: Version, digits: int) -> Version:
    kept = version[:digits]
    return (*kept[:-1], kept[-1] + 1)


def _padded(version: Version, length: int) -> Version:
    return version + (0,) * (length - len(version))


class Asked(NamedTuple):
    """What one file says."""

    text: str
    where: str


def choose(app: App, builders: str) -> tuple[dict[str, Any], str]:
    """The Python of this app, and what is wrong with what it asks for."""
    builder = {"name": "python", "version": builders, "fetched": False}
    asked = _asked(app)
    if asked is None:
        return {**builder, "because": "the builder's: no file asks for another"}, ""
    because = f"{asked.where} asks for {asked.text}"
    alternatives = read_range(re.sub(r"^(c?python)[-@]?", "", asked.text))
    if alternatives is None:
        sentence = f"{asked.where} asks for Python '{asked.text}', which is not a version."
        return {**builder, "because": because}, f"{sentence} Write it like {_minor(builders)}."
    if satisfies(builders, alternatives):
        return {**builder, "because": because}, ""
    if not _is_python3(alternatives):
        sentence = f"{asked.where} asks for Python {asked.text}, but only Python 3 is maintained."
        return {**builder, "because": because}, f"{sentence} Write it like {_minor(builders)}."
    return {"name": "python", "version": request(alternatives), "fetched": True, "because": because}, ""


def _asked(app: App) -> Asked | None:
    said = (asked for asked in (*_pins(app), *_ranges(app)) if asked.text)
    return next((asked for asked in said if asked.text.lower().removeprefix("python@") not in _ANY), None)


def _pins(app: App) -> list[Asked]:
    """From files that name the version which is to run."""
    found = [Asked(_first_line(app.text(name)), name) for name in _PINS]
    line = re.search(r"(?m)^python[ \t]+(\S+)", app.text(".tool-versions"))
    mise = app.first("mise.toml", ".mise.toml")
    tool = re.search(r"(?m)^[ \t]*python[ \t]*=[^\"'\n]*[\"']([^\"']+)", app.text(mise)) if mise else None
    return [*found, Asked(line[1] if line else "", ".tool-versions"), Asked(tool[1] if tool else "", mise)]


def _ranges(app: App) -> list[Asked]:
    """From the manifests, which say with what an app works."""
    requires = app.toml("Pipfile").get("requires", {})
    project, poetry = app.table("project"), app.table("tool", "poetry", "dependencies")
    return [
        Asked(str(requires.get("python_full_version") or requires.get("python_version") or ""), "Pipfile"),
        Asked(str(project.get("requires-python") or ""), "requires-python in pyproject.toml"),
        Asked(str(poetry.get("python") or ""), "pyproject.toml"),
    ]


def _first_line(text: str) -> str:
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return next((line for line in lines if line), "")


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _is_python3(alternatives: list[list[Clause]]) -> bool:
    clauses = [clause for clauses in alternatives for clause in clauses]
    return any(clause.version[0] == 3 and clause[:2] != ("<", (3,)) for clause in clauses)


def request(alternatives: list[list[Clause]]) -> str:
    """As uv takes it: a version or a range. Of several ranges the last, which is most often the newest."""
    clauses = alternatives[-1]
    if len(clauses) == 1 and clauses[0].operator == "==":
        return ".".join(map(str, clauses[0].version))
    return ",".join(map(str, clauses))

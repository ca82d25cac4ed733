"""What a query asks for: ``npm/lodash@<4.17.21``. Pure.

KIND/NAME, then perhaps @ and conditions separated by commas, all of which must be met: ``pypi/django@>=4,<4.2.8``. A
version alone stands for exactly that one. A package URL, ``pkg:npm/lodash@4.17.20``, is taken too; its qualifiers
(``?arch=amd64``) select nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

from buildfarm.errors import RequestError
from buildfarm.releases.facts.components.component import KINDS, Component
from buildfarm.releases.facts.components.versions import VersionTextError, order, parse

_CHARS_MAX = 500
_CONDITIONS_MAX = 10
_FORM = re.compile(r"(?:pkg:)?(?P<kind>[a-z]+)/(?P<name>@?[^@\s,<>=!]+)(?:@(?P<range>.+))?")
_CONDITION = re.compile(r"(?P<sign><=|>=|<|>|==|=|!=)?\s*(?P<version>[^\s<>=!,]+)")
_MET = {
    "<": lambda found: found < 0, "<=": lambda found: found <= 0, ">": lambda found: found > 0,
    ">=": lambda found: found >= 0, "=": lambda found: found == 0, "!=": lambda found: found != 0,
}  # fmt: skip
_EXAMPLE = "Write it as 'npm/lodash@<4.17.21', 'pypi/django@>=4,<4.2.8' or 'deb/openssl'."


@dataclass(frozen=True)
class Expression:
    """A component's name, and what its version must be."""

    kind: str
    name: str
    conditions: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Raises RequestError with an example."""
        name = re.split("[?#]", text)[0] if text.lstrip().startswith("pkg:") else text
        found = _FORM.fullmatch(name.strip()) if len(text) <= _CHARS_MAX else None
        if found is None:
            raise RequestError(f"{text[:80]!r} does not name a component.", advice=_EXAMPLE)
        kind, name = found["kind"], unquote(found["name"])
        if kind not in KINDS:
            raise RequestError(
                f"{kind!r} is not a kind of component.", advice=f"The kinds are {', '.join(sorted(KINDS))}."
            )
        if kind == "deb":
            name = name.removeprefix("debian/").removeprefix("ubuntu/")
        conditions = tuple(_condition(kind, part) for part in (found["range"] or "").split(",") if part.strip())
        if len(conditions) > _CONDITIONS_MAX:
            raise RequestError("There are too many conditions.", advice=_EXAMPLE)
        return cls(kind, normal_name(kind, name), conditions)

    def may_be_in(self, text: bytes) -> bool:
        """Whether a layer's list could name it; if not, it need not be decoded."""
        found = text.lower()
        return any(needle in found for needle in self._needles)

    @cached_property
    def _needles(self) -> tuple[bytes, ...]:
        """Texts of which one is in a list that names it, in lower case."""
        rows = [[self.kind, name] for name in (self.name, self._artifact) if name]
        texts = [json.dumps(row, separators=(",", ":"))[:-1] + "," for row in rows]
        if self.kind == "deb":
            texts.append(f"upstream={self.name}@")
        return tuple(text.lower().encode() for text in texts)

    @property
    def _artifact(self) -> str:
        """What a jar without its group is named."""
        return self.name.rpartition("/")[2] if self.kind == "maven" and "/" in self.name else ""

    def matches(self, component: Component) -> bool:
        """Whether it is this one in such a version. Raises VersionTextError if its version cannot be compared."""
        if component.kind != self.kind:
            return False
        name, version = normal_name(self.kind, component.name), component.version
        if name not in (self.name, self._artifact):
            name, version = component.source
        if name not in (self.name, self._artifact):
            return False
        return all(_MET[sign](order(self.kind, version, named)) for sign, named in self.conditions)


def normal_name(kind: str, name: str) -> str:
    """A name as its ecosystem compares it."""
    if kind == "pypi":
        return re.sub(r"[-_.]+", "-", name).lower()
    return name.lower() if kind in ("composer", "deb", "golang") else name


def _condition(kind: str, text: str) -> tuple[str, str]:
    found = _CONDITION.fullmatch(text.strip())
    if found is None:
        raise RequestError(f"{text.strip()[:80]!r} is not a condition for a version.", advice=_EXAMPLE)
    version = unquote(found["version"])
    try:
        parse(kind, version)
    except VersionTextError as error:
        raise RequestError(f"{error}.", advice=_EXAMPLE) from error
    return (found["sign"] or "=").replace("==", "="), version

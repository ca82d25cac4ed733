"""How versions of each ecosystem are ordered, by the rules of that ecosystem (univers, and `orders`). Pure.

npm, Go and Cargo: semver 2.0; Python: PEP 440; Debian: deb-version(7); gems, Maven and Composer: as their tools do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from univers import versions as univers

from buildfarm.releases.facts.components import orders

_ORDERS: Mapping[str, Callable[[str], Any]] = {
    "npm": univers.SemverVersion, "cargo": univers.SemverVersion, "golang": univers.GolangVersion,
    "pypi": univers.PypiVersion, "deb": univers.DebianVersion, "gem": univers.RubygemsVersion,
    "maven": univers.MavenVersion, "composer": univers.ComposerVersion, "generic": orders.runtime,
    "cpan": orders.perl,
}  # fmt: skip
_VERSION_CHARS_MAX = 128
_KEPT = 50_000


class VersionTextError(ValueError):
    """A text is not a version of its ecosystem."""


def order(kind: str, version: str, named: str) -> int:
    """-1, 0 or 1, as a component's version is older than the named one, the same or newer. Raises VersionTextError.

    Python's local versions count only if one is named: 2.0+cpu is 2.0, and 2.0+cu124 too (PEP 440, "Version matching").
    """
    return compare(kind, version.partition("+")[0] if kind == "pypi" and "+" not in named else version, named)


def compare(kind: str, one: str, other: str) -> int:
    """-1, 0 or 1, as the first is older, equal or newer. Raises VersionTextError."""
    first, second = parse(kind, one), parse(kind, other)
    try:
        return -1 if first < second else 1 if first > second else 0
    except Exception as error:
        raise VersionTextError(f"{one!r} and {other!r} cannot be compared") from error


@lru_cache(_KEPT)
def parse(kind: str, text: str) -> Any:
    """A version that can be compared to others of its ecosystem. Raises VersionTextError."""
    if len(text) > _VERSION_CHARS_MAX:
        raise VersionTextError("the version is too long")
    try:
        return _ORDERS[kind](text)
    except Exception as error:
        raise VersionTextError(f"{text[:80]!r} is not a version of the ecosystem {kind}") from error

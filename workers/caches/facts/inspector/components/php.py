"""Composer's installed packages. Source: getcomposer.org, `vendor/composer/installed.json` of Composer 1 and 2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from workers.caches.facts.inspector.components.found import Component, DamagedError, component, each, read_json

PATH = re.compile(r"(?:^|/)composer/installed\.json$")
BYTES_MAX = 16 * 1024 * 1024
_PACKAGES_MAX = 20_000


def read(content: bytes, path: str) -> Iterator[Component | DamagedError]:
    """The packages. Raises DamagedError if it is not such a list."""
    told = read_json(content)
    listed = told.get("packages") if isinstance(told, dict) else told
    if not isinstance(listed, list) or len(listed) > _PACKAGES_MAX:
        raise DamagedError("it has no list of packages")
    yield from each(_package, listed)


def _package(one: Any) -> Component:
    if not isinstance(one, dict):
        raise DamagedError("an entry of its list of packages cannot be read")
    licences = one.get("license")
    licence = licences[0] if isinstance(licences, list) and len(licences) == 1 else licences
    version = one.get("version")
    version = version.removeprefix("v") if isinstance(version, str) else version
    return component("composer", _lower(one.get("name")), version, licence)


def _lower(name: object) -> object:
    return name.lower() if isinstance(name, str) else name

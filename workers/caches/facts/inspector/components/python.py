"""Python's installed packages. Source: packaging.python.org, "Recording installed projects" and "Core metadata".

A folder `NAME-VERSION.dist-info` with `METADATA`, or `.egg-info` with `PKG-INFO`, is one installed package. Vendored
ones, such as pip's, bring no such folder; those that do (setuptools' `_vendor`) are components like all others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from workers.caches.facts.inspector.components.found import Component, DamagedError, component, fields, first

PATH = re.compile(r"(?:^|/)[^/]+\.(?:dist-info/METADATA|egg-info/PKG-INFO)$")
BYTES_MAX = 256 * 1024  # the headers stand first; what follows is the description


def read(content: bytes, path: str) -> Iterator[Component]:
    """The package. Raises DamagedError if the file does not name one."""
    headers = fields(content)
    name, version = first(headers, "name"), first(headers, "version")
    if not name or not version:
        raise DamagedError("it names no package")
    licence = first(headers, "license-expression") or first(headers, "license")
    yield component("pypi", re.sub(r"[-_.]+", "-", name).lower(), version, licence.partition("\n")[0])

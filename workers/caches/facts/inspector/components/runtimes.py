"""Runtimes that buildpacks put into an app, by the small files that come with them: Python, Java and Bun.

Node and Deno have only their programs (see `programs`). Runtimes of the base are packages of dpkg.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from workers.caches.facts.inspector.components.found import Component, component, read_json

PATH = re.compile(
    r"^(?:app|layers)/(?:.*/)?(?:include/python3\.\d+t?/patchlevel\.h|(?:jvm/[^/]+|\.?jdk[^/]*|jre[^/]*|java)/release"
    r"|lib/bun/package\.json)$"
)
BYTES_MAX = 64 * 1024
_PYTHON = re.compile(rb'^#define\s+PY_VERSION\s+"([\w.+]{1,40})"', re.MULTILINE)
_JAVA = re.compile(rb'^JAVA_VERSION="([\w.+-]{1,60})"', re.MULTILINE)


def read(content: bytes, path: str) -> Iterator[Component]:
    """The runtime; none if another file has this name."""
    if path.endswith("/package.json"):
        told = read_json(content)
        if isinstance(told, dict):
            yield component("generic", "bun", told.get("version"))
        return
    name, pattern = ("python", _PYTHON) if path.endswith(".h") else ("openjdk", _JAVA)
    if found := pattern.search(content):
        yield component("generic", name, found[1].decode())

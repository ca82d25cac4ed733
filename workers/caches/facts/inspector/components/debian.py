"""Debian packages. Source: deb-control(5) and dpkg's list; a folder instead of it has a file for each package.

`/var/lib/dpkg/status` lists those of a base. The apt buildpack writes `.apt/var/lib/dpkg/status.d` for the packages
that it unpacks into an app. Vulnerabilities are filed by source package, so its name and version are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from workers.caches.facts.inspector.components.found import (
    Component,
    DamagedError,
    component,
    each,
    fields,
    first,
    qualifiers,
)

PATH = re.compile(r"(?:^|/)var/lib/dpkg/(?:status|status\.d/[^/]+)$")
BYTES_MAX = 32 * 1024 * 1024
_PACKAGES_MAX = 20_000
_SOURCE = re.compile(r"(\S+)(?:\s+\((\S+)\))?")


def read(content: bytes, path: str) -> Iterator[Component | DamagedError]:
    """The installed packages."""
    return each(_package, _installed(content))


def _installed(content: bytes) -> Iterator[dict[str, list[str]]]:
    for paragraph in re.split(rb"\n\s*\n", content, maxsplit=_PACKAGES_MAX)[:_PACKAGES_MAX]:
        headers = fields(paragraph.lstrip(b"\n"))
        state = first(headers, "status")
        if first(headers, "package") and (not state or state.endswith(" installed")):
            yield headers


def _package(headers: dict[str, list[str]]) -> Component:
    name, version = first(headers, "package"), first(headers, "version")
    source = _SOURCE.match(first(headers, "source"))
    upstream = f"{source[1]}@{source[2] or version}" if source else ""
    extra = qualifiers(arch=first(headers, "architecture"), upstream=upstream)
    return component("deb", name, version, "", extra)

"""Debian packages. Source: deb-control(5) and dpkg's list; a folder instead of it has a file for each package.

`/var/lib/dpkg/status` lists those of a base. The apt buildpack writes `.apt/var/lib/dpkg/status.d` for the packages
that it unpacks into an app. Vulnerabilities are filed by source package, so its name and version are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from workers.caches.facts.inspector.components.found import Component, component, fields, first

PATH = re.compile(r"(?:^|/)var/lib/dpkg/(?:status|status\.d/[^/]+)$")
BYTES_MAX = 32 * 1024 * 1024
_PACKAGES_MAX = 20_000
_SOURCE = re.compile(r"(\S+)(?:\s+\((\S+)\))?")


def read(content: bytes, path: str) -> Iterator[Component]:
    """The installed packages. Raises DamagedError if a package has no plain name or version."""
    for paragraph in re.split(rb"\n\s*\n", content)[:_PACKAGES_MAX]:
        headers = fields(paragraph.lstrip(b"\n"))
        state = first(headers, "status")
        if first(headers, "package") and (not state or state.endswith(" installed")):
            yield _package(headers)


def _package(headers: dict[str, list[str]]) -> Component:
    name, version = first(headers, "package"), first(headers, "version")
    source = _SOURCE.match(first(headers, "source"))
    upstream = f"{source[1]}@{source[2] or version}" if source else ""
    extra = "&".join(
        f"{key}={value[:250]}"
        for key, value in (("arch", first(headers, "architecture")), ("upstream", upstream))
        if value
    )
    return component("deb", name, version, "", extra)

"""Installed Perl distributions. Source: App::cpanminus, which writes `.meta/DIST-VERSION/install.json` for each."""

from __future__ import annotations

import re
from collections.abc import Iterator

from workers.caches.facts.inspector.components.found import Component, DamagedError, component, read_json

PATH = re.compile(r"(?:^|/)\.meta/[^/]+/install\.json$")
BYTES_MAX = 1024 * 1024
_DIST = re.compile(r"(.+?)-(v?\d[^-]*(?:-TRIAL\d*)?)")


def read(content: bytes, path: str) -> Iterator[Component]:
    """The distribution. Raises DamagedError if the file does not name one."""
    told = read_json(content)
    dist = told.get("dist") if isinstance(told, dict) else None
    found = _DIST.fullmatch(dist) if isinstance(dist, str) else None
    if found is None:
        raise DamagedError("it names no distribution")
    place = told.get("pathname")  # A/AU/AUTHOR/DIST.tar.gz
    author = place.split("/")[2] if isinstance(place, str) and place.count("/") == 3 else ""
    yield component("cpan", f"{author}/{found[1]}".lstrip("/"), found[2])

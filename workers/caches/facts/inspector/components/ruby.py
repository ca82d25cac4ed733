"""Installed gems. Source: rubygems' `Gem::StubSpecification`, which reads the same lines without running the file.

A file `specifications/NAME-VERSION[-PLATFORM].gemspec` is one installed gem. It is Ruby, so it is never evaluated: its
`# stub: NAME VERSION PLATFORM PATHS` line names the gem, or else plain assignments of texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from workers.caches.facts.inspector.components.found import Component, DamagedError, component, qualifiers

PATH = re.compile(r"(?:^|/)specifications/(?:default/)?[^/]+\.gemspec$")
BYTES_MAX = 256 * 1024
_STUB = re.compile(rb"^# stub: (\S+) (\S+) (\S+)", re.MULTILINE)
_LICENCE = re.compile(rb"""\.licenses?\s*=\s*(?:\[\s*)?["']([^"'\n]{1,100})["']""")


def read(content: bytes, path: str) -> Iterator[Component]:
    """The gem. Raises DamagedError if the file does not name one."""
    stub = _STUB.search(content)
    found = [part.decode(errors="replace") for part in stub.groups()] if stub else _assigned(content)
    if found is None:
        raise DamagedError("it names no gem")
    name, version, platform = found
    licence = _LICENCE.search(content)
    extra = "" if platform == "ruby" else qualifiers(platform=platform)
    yield component("gem", name, version, licence[1].decode(errors="replace") if licence else "", extra)


def _assigned(content: bytes) -> list[str] | None:
    found = []
    for field in (rb"name", rb"version"):
        match = re.search(
            rb"""\.""" + field + rb"""\s*=\s*(?:Gem::Version\.new\(?\s*)?["']([^"'\n]{1,214})["']""", content
        )
        if match is None:
            return None
        found.append(match[1].decode(errors="replace"))
    return [*found, "ruby"]

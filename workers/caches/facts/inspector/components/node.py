"""Installed packages of npm, pnpm, Yarn, Bun and Deno. Source: docs.npmjs.com, "package.json" and "folders".

The rule: a `package.json` directly below `node_modules/NAME` or `node_modules/@SCOPE/NAME` is an installed package if
it has a name and a version. Deeper ones are fixtures and stubs of the package. Deno keeps packages in folders
`npm/REGISTRY/NAME/VERSION`. Yarn's Plug'n'Play has archives instead, which `.pnp.cjs` lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from workers.caches.facts.inspector.components.found import Component, DamagedError, component, read_json

PATH = re.compile(
    r"(?:^|/)(?:node_modules/(?:@[^/]+/)?[^/@.][^/]*|npm/[^/]+\.[^/]+/(?:@[^/]+/)?[^/@]+/\d[^/]*)/package\.json$"
)
BYTES_MAX = 1024 * 1024
PNP_PATH = re.compile(r"(?:^|/)\.pnp\.c?js$")
PNP_BYTES_MAX = 16 * 1024 * 1024
_STATE = b"RAW_RUNTIME_STATE ="
_STATE_TEXT = re.compile(rb"\s*'([^'\\]*(?:\\.[^'\\]*)*)'", re.DOTALL)
_PNP = re.compile(r"(?:virtual:[0-9a-f]+#)?npm:(?:(?P<name>(?:@[^@/]+/)?[^@/]+)@)?(?P<version>[^:@#]+)")
_PACKAGES_MAX = 50_000


def read(content: bytes, path: str) -> Iterator[Component]:
    """The package; none if the file has no name and version, as a linked workspace may not. Raises DamagedError."""
    told = read_json(content)
    if not isinstance(told, dict):
        raise DamagedError("it is not an object")
    if told.get("name") and told.get("version"):
        yield component("npm", told["name"], _version(told["version"]), _licence(told))


def read_pnp(content: bytes, path: str) -> Iterator[Component]:
    """The packages that Yarn's resolver lists, and that come from a registry. Raises DamagedError."""
    at = content.find(_STATE)
    state = _STATE_TEXT.match(content, at + len(_STATE)) if at >= 0 else None
    if state is None:
        raise DamagedError("it has no list of packages")
    told = read_json(re.sub(rb"\\(\n|.)", lambda one: b"" if one[1] == b"\n" else one[1], state[1], flags=re.DOTALL))
    registry = told.get("packageRegistryData") if isinstance(told, dict) else None
    for name, references in _pairs(registry):
        for reference, _ in _pairs(references):
            if name and isinstance(reference, str) and (found := _PNP.fullmatch(reference)):
                yield component("npm", found["name"] or name, found["version"])


def _pairs(listed: Any) -> list[tuple[Any, Any]]:
    if not isinstance(listed, list) or len(listed) > _PACKAGES_MAX:
        raise DamagedError("its list of packages cannot be read")
    return [(one[0], one[1]) for one in listed if isinstance(one, list) and len(one) == 2]


def _version(text: Any) -> Any:
    return text.strip().lstrip("v=") if isinstance(text, str) else text


def _licence(told: dict[str, Any]) -> Any:
    found = told.get("license")
    return found.get("type") if isinstance(found, dict) else found

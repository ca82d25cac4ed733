"""A bill of materials as CycloneDX 1.6 (ECMA-424, cyclonedx.org/docs/1.6/json). Pure; equal images have equal bytes.

It has no timestamp, and its serial number follows from its content: a bill that is made again is the same one. Unknown
parts are declared: the composition is always incomplete, since vendored C code and bundled front ends are in no list,
and each file that could not be read is a property of the image.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from buildfarm import __version__
from buildfarm.releases.facts.components.component import Component
from buildfarm.releases.facts.components.image import Part

MEDIA_TYPE = "application/vnd.cyclonedx+json; version=1.6"
_NAMESPACE = uuid.UUID("5a3c4f1e-2f0b-5d5c-9c53-0d3d7e6b41aa")
_PLACES_MAX = 20  # of one component


def cyclonedx(parts: Sequence[Part]) -> bytes:
    """The bill of these parts of an image, the image's own first."""
    root = _image(parts)
    components = [one for part in parts for one in _components(part)]
    unique = {one["bom-ref"]: one for one in components}
    for part in parts:
        if part.distribution:
            unique[part.distribution] = _system(part.distribution)
    refs = sorted(unique)
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "post-build"}],
            "tools": {"components": [{"type": "application", "name": "buildfarm", "version": __version__}]},
            "component": root,
        },
        "components": [unique[ref] for ref in refs],
        "dependencies": [{"ref": root["bom-ref"], "dependsOn": refs}],
        "compositions": [{"aggregate": "incomplete", "assemblies": [root["bom-ref"]]}],
    }  # fmt: skip
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(_NAMESPACE, _text(document))}"
    return f"{_text(document)}\n".encode()


def places_of(part: Part) -> dict[Component, list[str]]:
    """Each component with the files that name it, in a fixed order."""
    found: dict[Component, list[str]] = {}
    for name, components in sorted(part.components.files.items()):
        for component in components:
            found.setdefault(component, []).append(f"/{name}")
    return dict(sorted(found.items()))


def unread_of(parts: Iterable[Part]) -> list[str]:
    """Sentences' parts about files whose components are not known."""
    return sorted(
        {f"{f'/{name}: ' if name else ''}{why}" for part in parts for name, why in part.components.unread.items()}
    )


def _image(parts: Sequence[Part]) -> dict[str, Any]:
    repository, _, digest = parts[0].reference.partition("@")
    properties = [("buildfarm:base", part.reference) for part in parts[1:]]
    properties += [("buildfarm:unread", text) for text in unread_of(parts)]
    return {
        "type": "container", "bom-ref": parts[0].reference, "name": repository, "version": digest,
        **({"properties": [{"name": name, "value": value} for name, value in properties]} if properties else {}),
    }  # fmt: skip


def _components(part: Part) -> Iterable[dict[str, Any]]:
    for component, places in places_of(part).items():
        purl = component.purl(part.distribution)
        yield {
            "type": "platform" if component.kind == "generic" else "library",
            "bom-ref": purl, "name": component.name, "version": component.version, "purl": purl,
            **({"licenses": [{"license": {"name": component.licence}}]} if component.licence else {}),
            "evidence": {"occurrences": [{"location": place} for place in places[:_PLACES_MAX]]},
        }  # fmt: skip


def _system(distribution: str) -> dict[str, Any]:
    """What scanners look for to know whose packages those of dpkg are."""
    name, _, version = distribution.partition("-")
    return {"type": "operating-system", "bom-ref": distribution, "name": name, "version": version}


def _text(document: Any) -> str:
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

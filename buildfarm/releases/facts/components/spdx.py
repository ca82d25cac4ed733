"""The same as SPDX 2.3 (ISO/IEC 5962 in its newest form, spdx.github.io/spdx-spec/v2.3). Pure, and deterministic too.

SPDX requires a time: it is that of all images of the farm, which is the same for each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from buildfarm import __version__
from buildfarm.oci.image import CREATED
from buildfarm.releases.facts.components.cyclonedx import places_of, unread_of
from buildfarm.releases.facts.components.image import Part

MEDIA_TYPE = "application/spdx+json"
_NAMESPACE = "https://buildfarm.invalid/spdx"


def spdx(parts: Sequence[Part]) -> bytes:
    """The bill of these parts of an image, the image's own first."""
    repository, _, digest = parts[0].reference.partition("@")
    image = _package("SPDXRef-Image", repository, digest, "")
    image["primaryPackagePurpose"] = "CONTAINER"
    if unread := unread_of(parts):
        image["comment"] = "Not known: " + "; ".join(unread)
    packages = {}
    for part in parts:
        for component in places_of(part):
            purl = component.purl(part.distribution)
            packages[purl] = _package(_id(purl), component.name, component.version, purl)
    document: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": parts[0].reference,
        "creationInfo": {"created": CREATED, "creators": [f"Tool: buildfarm-{__version__}"]},
        "packages": [image, *(packages[purl] for purl in sorted(packages))],
        "relationships": [
            _related("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"),
            *(_related("SPDXRef-Image", "CONTAINS", packages[purl]["SPDXID"]) for purl in sorted(packages)),
        ],
    }  # fmt: skip
    content = json.dumps(document, sort_keys=True).encode()
    document["documentNamespace"] = f"{_NAMESPACE}/{hashlib.sha256(content).hexdigest()}"
    return f"{json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(',', ':'))}\n".encode()


def _package(identifier: str, name: str, version: str, purl: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "SPDXID": identifier, "name": name, "versionInfo": version, "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False, "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    }  # fmt: skip
    if purl:
        reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}
        found["externalRefs"] = [reference]
    return found


def _id(purl: str) -> str:
    """Letters, digits, dots and hyphens alone are possible."""
    return f"SPDXRef-{hashlib.sha256(purl.encode()).hexdigest()[:32]}"


def _related(one: str, how: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other}

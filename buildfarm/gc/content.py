"""What the content of a manifest or an index names. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from buildfarm.oci.signatures.simple import PAYLOAD_TYPE
from buildfarm.releases.document import RELEASE_ANNOTATION, RELEASE_TYPE

MANIFEST_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True)
class Content:
    """``names`` are its config, layers and manifests, and an image's release: what it cannot do without."""

    names: frozenset[str] = frozenset()
    subject: str = ""  # the manifest that this one is about: a signature, a bill of materials
    release: str = ""  # an image's
    is_release: bool = False
    is_signatures: bool = False  # of an image, at a tag that names it; one without it was replaced

    @classmethod
    def parse(cls, content: bytes) -> Content:
        """Nothing if it cannot be read."""
        try:
            told = json.loads(content)
        except ValueError:
            return cls()
        if not isinstance(told, dict):
            return cls()
        found = [told.get("config"), *(told.get("layers") or ()), *(told.get("manifests") or ())]
        annotations = told.get("annotations")
        release = annotations.get(RELEASE_ANNOTATION) if isinstance(annotations, dict) else None
        release = release if isinstance(release, str) else ""
        names = {release, *(_digest(item) for item in found)} - {""}
        layers = [item.get("mediaType") for item in told.get("layers") or () if isinstance(item, dict)]
        return cls(
            frozenset(names),
            _digest(told.get("subject")),
            release,
            told.get("artifactType") == RELEASE_TYPE,
            bool(layers) and set(layers) == {PAYLOAD_TYPE},
        )


def _digest(item: object) -> str:
    return str(item["digest"]) if isinstance(item, dict) and "digest" in item else ""

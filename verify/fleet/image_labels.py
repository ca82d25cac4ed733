"""An image as skopeo reads it from the registry."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BASE_NAME, BASE_DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"


@dataclass(frozen=True)
class Image:
    """An image and its base as skopeo reads them from the registry."""

    reference: str
    digest: str
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    base: Mapping[str, Any] | None  # the manifest that the annotation names

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.config["config"].get("Labels") or {}


def read(host: str, repository: str, tag: str = "latest") -> Image:
    """Reads an image from a registry without TLS. Raises CalledProcessError if skopeo refuses it."""
    reference = f"{host}/{repository}"
    shown, manifest = _skopeo(f"{reference}:{tag}"), _skopeo(f"{reference}:{tag}", "--raw")
    config = _skopeo(f"{reference}:{tag}", "--config")
    if shown["Labels"] != config["config"].get("Labels") or len(shown["Layers"]) != len(manifest["layers"]):
        raise ValueError(f"skopeo shows other labels or layers of {reference} than its documents have")
    annotations = manifest.get("annotations") or {}
    place = annotations.get(BASE_NAME, "").rpartition(":")[0]
    digest = annotations.get(BASE_DIGEST, "")
    base = _skopeo(f"{place}@{digest}", "--raw") if place and digest else None
    return Image(reference, shown["Digest"], manifest, config, base)


def _skopeo(reference: str, *options: str) -> Any:
    command = ["skopeo", "inspect", "--tls-verify=false", *options, f"docker://{reference}"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)

"""What collections over the API keep in the registry itself, as JSON under a tag."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from typing import Any

from buildfarm.errors import SetupError
from buildfarm.gc.choose import COLLECTION
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.image import EMPTY_CONFIG
from buildfarm.oci.manifest import Manifest
from buildfarm.oci.registry import Registry
from buildfarm.store.archive.shelf import Kind, put_artifact

_BYTES_MAX = 128 * 1024 * 1024
_KIND = Kind(
    "application/vnd.buildfarm.collection.v1",
    "application/vnd.buildfarm.collection.memory.v1+gzip",
    "application/vnd.oci.empty.v1+json",
)


@dataclass(frozen=True)
class Artifact:
    """One of them. Every method raises RegistryError."""

    registry: Registry
    tag: str

    def read(self) -> dict[str, Any]:
        """What was written last; empty if nothing was. Raises SetupError if it is damaged."""
        try:
            media_type, content, _ = self.registry.get_manifest(COLLECTION, self.tag)
        except NotInRegistryError:
            return {}
        try:
            digest = Manifest.parse(content, media_type).config.digest
            found = json.loads(gzip.decompress(self.registry.read_blob(COLLECTION, digest, limit_bytes=_BYTES_MAX)))
        except (OSError, EOFError, ValueError, zlib.error):
            found = None
        if not isinstance(found, dict):
            raise SetupError(
                f"{COLLECTION}:{self.tag} in the registry {self.registry.host} is damaged: it says which farm collects"
                " there, or what was being deleted.",
                advice="Have the images that run reported, delete that tag, then run buildfarm gc with --adopt once.",
            )
        return found

    def write(self, found: dict[str, Any]) -> None:
        """Replaces it, at once."""
        content = gzip.compress(json.dumps(found).encode(), mtime=0)
        put_artifact(self.registry, COLLECTION, _KIND, content, EMPTY_CONFIG, tag=self.tag)

"""Layers that the registry holds, so that none is made or sent twice, by any app or node."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import LayerDigests
from buildfarm.store.database import Database

_KEPT_SECONDS = 30 * 86400


@dataclass(frozen=True)
class KnownLayer:
    """A layer in the registry, and a repository that holds it."""

    digests: LayerDigests
    repository: str


@dataclass(frozen=True)
class KnownLayers:
    """Layers by a fingerprint of their shape; entries that are not used expire after 30 days.

    What is found here is a guess: its content must be compared, and the registry may have lost it. Every method raises
    StoreError where Redis cannot be reached.
    """

    database: Database

    def get(self, shape: str) -> KnownLayer | None:
        """The newest layer of this shape."""
        with self.database.failures():
            found = self.database.client.getex(self._key(shape), ex=_KEPT_SECONDS)
        if not found:
            return None
        fields = json.loads(found)
        digests = LayerDigests(
            digest=Digest(fields["digest"]),
            diff_id=Digest(fields["diff_id"]),
            size_bytes=fields["size_bytes"],
            uncompressed_bytes=fields["uncompressed_bytes"],
        )
        return KnownLayer(digests, fields["repository"])

    def put(self, shape: str, layer: KnownLayer) -> None:
        """The registry holds this layer."""
        content = json.dumps({**asdict(layer.digests), "repository": layer.repository})
        with self.database.failures():
            self.database.client.set(self._key(shape), content, ex=_KEPT_SECONDS)

    def _key(self, shape: str) -> str:
        return self.database.key("layer", shape)

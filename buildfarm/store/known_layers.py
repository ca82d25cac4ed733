"""Layers that the registry holds, so that none is made or sent twice, and which secrets each was searched for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import LayerDigests
from buildfarm.seal import Seal
from buildfarm.store.database import Database

_KEPT_SECONDS = 30 * 86400
_SCANNED_KEPT_SECONDS = 7 * 86400
_SCANNED_MAX = 256  # a build can have 200 config vars
_MARK_CHARS = 16  # of an HMAC in hex: enough for values that nobody can choose by it


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


@dataclass(frozen=True)
class ScannedLayers:
    """For which secret values each layer of an app was searched in vain.

    A value is kept as an HMAC under the farm's key, over repository, layer and value, so equal values cannot be seen.
    A layer has the newest 256 of them; what is not used expires after 7 days. Without a key nothing is kept. Two nodes
    that write at once can lose each other's values, which are then searched for again. Both methods raise StoreError
    if Redis cannot be reached.
    """

    database: Database
    seal: Seal

    def missing(self, repository: str, diff_id: Digest, values: Iterable[str]) -> list[str]:
        """Return the values for which this layer is not known to have been searched."""
        known = set(self._known(repository, diff_id))
        return [value for value in values if self._mark(repository, diff_id, value) not in known]

    def add(self, repository: str, diff_id: Digest, values: Iterable[str]) -> None:
        """Keep that this layer has none of these values."""
        if not self.seal.keys:
            return
        marks = [self._mark(repository, diff_id, value) for value in values]
        kept = dict.fromkeys([*marks, *self._known(repository, diff_id)])
        content = " ".join(list(kept)[:_SCANNED_MAX])
        with self.database.failures():
            self.database.client.set(self._key(repository, diff_id), content, ex=_SCANNED_KEPT_SECONDS)

    def _known(self, repository: str, diff_id: Digest) -> list[str]:
        if not self.seal.keys:
            return []
        with self.database.failures():
            found = self.database.client.getex(self._key(repository, diff_id), ex=_SCANNED_KEPT_SECONDS)
        return str(found or "").split()

    def _mark(self, repository: str, diff_id: Digest, value: str) -> str:
        # 1 is the version of what is searched for: another one searches all layers again.
        return self.seal.digest(json.dumps(["scanned 1", repository, diff_id, value]).encode())[:_MARK_CHARS]

    def _key(self, repository: str, diff_id: Digest) -> str:
        return self.database.key("scanned", repository, diff_id.hex)

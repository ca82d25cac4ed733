"""Documents that came with a request to the signer. The registry has the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Manifest
from buildfarm.oci.registry import Registry


@dataclass(frozen=True)
class GivenDocuments:
    """Reads them as `oci.memory.Documents` does. Their digests prove them, whoever sent them."""

    registry: Registry
    given: Mapping[str, bytes]  # by digest

    def read_manifest(self, repository: str, reference: str) -> tuple[Manifest, Digest]:
        """The manifest under this digest. Raises RegistryError, and ValueError if it is not an image's."""
        if (content := self.given.get(reference)) is not None:
            return Manifest.parse(content), Digest(reference)
        return self.registry.read_manifest(repository, reference)

    def read_blob(self, repository: str, digest: Digest) -> bytes:
        """A small blob as a whole. Raises RegistryError."""
        found = self.given.get(digest)
        return self.registry.read_blob(repository, digest) if found is None else found

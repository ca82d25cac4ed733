"""Small documents of a registry that were read before: what is named by its digest does not change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Manifest
from buildfarm.oci.registry import Registry

REMEMBERED_BYTES = 16 * 1024 * 1024  # as the registry has them: about a thousand images with their releases


class Documents(Protocol):
    """What reads manifests and small blobs. Both raise RegistryError."""

    def read_manifest(self, repository: str, reference: str) -> tuple[Manifest, Digest]:
        """The manifest under this tag or digest, and its digest. Raises ValueError if it is not an image's."""

    def read_blob(self, repository: str, digest: Digest) -> bytes:
        """A small blob as a whole, verified."""


@dataclass
class RememberedDocuments:
    """Reads a document with a digest once, as long as there is room for it. Safe for several threads.

    That the registry still has it is then not known: it is for callers that write what needs it, which the registry
    refuses if it is gone.
    """

    registry: Registry
    limit_bytes: int = REMEMBERED_BYTES
    _kept: OrderedDict[tuple[str, str], bytes] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read_manifest(self, repository: str, reference: str) -> tuple[Manifest, Digest]:
        """As `Documents` has it."""
        found = self._found(repository, reference)
        if found is None:
            media_type, content, digest = self.registry.get_manifest(repository, reference)
            manifest = Manifest.parse(content, media_type)
            self._keep(repository, digest, media_type.encode() + b"\n" + content)
            return manifest, digest
        media_type_text, _, content = found.partition(b"\n")
        return Manifest.parse(content, media_type_text.decode()), Digest(reference)

    def read_blob(self, repository: str, digest: Digest) -> bytes:
        """Likewise."""
        found = self._found(repository, digest)
        if found is None:
            found = self.registry.read_blob(repository, digest)
            self._keep(repository, digest, found)
        return found

    def _found(self, repository: str, reference: str) -> bytes | None:
        with self._lock:
            found = self._kept.get((repository, reference))
            if found is not None:
                self._kept.move_to_end((repository, reference))
            return found

    def _keep(self, repository: str, digest: Digest, content: bytes) -> None:
        with self._lock:
            self._bytes += len(content) - len(self._kept.pop((repository, digest), b""))
            self._kept[repository, digest] = content
            while self._bytes > self.limit_bytes:
                self._bytes -= len(self._kept.popitem(last=False)[1])

"""Packs in the registry: an artifact each, whose config is the index and whose only layer are the logs."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from buildfarm.errors import RegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import EMPTY_CONFIG
from buildfarm.oci.manifest import Descriptor, Manifest, media_types
from buildfarm.store.archive.pack import INDEX_BYTES_MAX, Index, Pack, Row
from buildfarm.store.archive.plan import BYTES_MAX, Shelved

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry

ARCHIVE = "archive/"  # how the names of the repositories begin
ARTIFACT_TYPE = "application/vnd.buildfarm.archive.v1"
_INDEX_TYPE = "application/vnd.buildfarm.archive.index.v1+gzip"
_LOGS_TYPE = "application/vnd.buildfarm.archive.logs.v1+gzip"


def repository_of(place: str) -> str:
    """Where the packs of a ``tenant/app`` are; an image's name and version are an app, and not always a valid name."""
    plain = re.sub(r"[^a-z0-9/]+", "-", place).strip("-")
    return (
        f"{ARCHIVE}{plain}" if plain == place else f"{ARCHIVE}{plain}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
    )


def shelved(pack: Pack) -> Shelved:
    """What is known of a pack once it is in the registry; the same for the same builds."""
    index, first, last = Index.of(pack), pack.rows[0].position[0], pack.rows[-1].position[0]
    content = index.encode()
    manifest = _manifest(pack, content)
    return Shelved(Digest.of(manifest), Digest.of(content), len(pack.rows), len(pack.data), first, last)


def tag_of(pack: Shelved) -> str:
    """A pack's tag: its own, for a tag that moves leaves a file for each manifest it was at in the registry."""
    return f"{pack.first:.0f}-{pack.manifest.hex[:16]}"


@dataclass(frozen=True)
class Shelf:
    """The packs of one app. Every method raises RegistryError, which names what is damaged or missing."""

    registry: Registry
    repository: str

    def put(self, pack: Pack) -> Shelved:
        """Keeps a pack, under its tag."""
        kept, index = shelved(pack), Index.of(pack).encode()
        put_artifact(self.registry, self.repository, _PACK, index, pack.data or EMPTY_CONFIG, tag=tag_of(kept))
        return kept

    def index(self, pack: Shelved) -> Index:
        """A pack's index, in one request."""
        content = self.registry.read_blob(self.repository, pack.index, limit_bytes=INDEX_BYTES_MAX)
        try:
            return Index.decode(content)
        except ValueError as error:
            raise RegistryError(f"The index {self.repository}@{pack.index} cannot be read: {error}.") from error

    def find(self, reference: str) -> tuple[Shelved, Index]:
        """The pack under a tag, as `put` told it, and its index."""
        try:
            manifest, digest = self.registry.read_manifest(self.repository, reference)
        except ValueError as error:
            raise RegistryError(f"{self.repository}:{reference} is not a pack: {error}.") from error
        named = Shelved(digest, manifest.config.digest, 0, 0, 0.0, 0.0)
        index = self.index(named)
        if not index.rows:
            raise RegistryError(f"{self.repository}:{reference} is not a pack: it has no builds.")
        first, last = index.rows[0].position[0], index.rows[-1].position[0]
        return replace(named, builds=len(index.rows), data_bytes=index.data_bytes, first=first, last=last), index

    def log(self, index: Index, row: Row) -> bytes:
        """A build's log as `log_text.decode_log` reads it, in one request."""
        if not row.size:
            return b""
        return self.registry.read_part(self.repository, index.data, row.offset, row.size)

    def check(self, pack: Shelved) -> None:
        """Raises RegistryError if its manifest or its logs are missing, or if its index cannot be read."""
        index = self.index(pack)
        if index.data_bytes and not self.registry.has_blob(self.repository, index.data):
            raise RegistryError(f"The logs {self.repository}@{index.data} are missing.")
        if not self.registry.has_manifest(self.repository, pack.manifest):
            raise RegistryError(f"The manifest {self.repository}@{pack.manifest} is missing.")

    def pack(self, pack: Shelved) -> Pack:
        """A whole pack, to be joined with others."""
        index = self.index(pack)
        if not index.data_bytes:
            return Pack(index.rows, b"")
        data = self.registry.read_blob(self.repository, index.data, limit_bytes=max(BYTES_MAX, index.data_bytes))
        return Pack(index.rows, data)


@dataclass(frozen=True)
class Kind:
    """The media types of an artifact that the farm makes of an index and a blob."""

    artifact: str
    index: str
    blob: str


def put_artifact(registry: Registry, repository: str, kind: Kind, index: bytes, blob: bytes, *, tag: str) -> Digest:
    """Keeps an artifact under its tag: its config is the index, its only layer the blob."""
    with ThreadPoolExecutor(1, "index") as side:
        sent = side.submit(registry.put_blob, repository, index, look=False)
        registry.put_blob(repository, blob, look=False)
        sent.result()
    return registry.put_manifest(repository, manifest_of(kind, index, blob), media_types("oci").manifest, tag=tag)


def manifest_of(kind: Kind, index: bytes, blob: bytes) -> bytes:
    """The manifest of that artifact; the same for the same contents."""
    return Manifest(
        media_type=media_types("oci").manifest,
        config=Descriptor(kind.index, Digest.of(index), len(index)),
        layers=(Descriptor(kind.blob, Digest.of(blob), len(blob)),),
        artifact_type=kind.artifact,
    ).encode()


def _manifest(pack: Pack, index: bytes) -> bytes:
    return manifest_of(_PACK, index, pack.data or EMPTY_CONFIG)


_PACK = Kind(ARTIFACT_TYPE, _INDEX_TYPE, _LOGS_TYPE)

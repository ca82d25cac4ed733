"""What is pushed beside one image: each manifest follows its own blob, and waits for no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field

from buildfarm.oci.registry import Registry
from buildfarm.oci.signatures.open_uploads import OpenUploads
from buildfarm.oci.signatures.shared_blobs import SharedBlobs


@dataclass(frozen=True)
class Attached:
    """A manifest with its one blob, beside those that all signatures share; without a tag it has its digest alone."""

    blob: bytes
    manifest: bytes
    tag: str | None = None


@dataclass(frozen=True)
class Sending:
    """Sends for one image, in threads of the pool. A task waits for earlier tasks alone."""

    registry: Registry
    repository: str
    put: Callable[[str, bytes, str | None], object]  # a manifest into the repository, under a tag if there is one
    pool: Executor
    shared: SharedBlobs
    uploads: OpenUploads
    _blobs: dict[bytes, Future[None]] = field(default_factory=dict)  # by blob; of the shared ones by an empty one
    _manifests: dict[bytes, Future[None]] = field(default_factory=dict)  # by content, of those without a tag

    def begin(self, attached: Iterable[Attached]) -> None:
        """Send the blobs, and the manifests that have no tag, unless they are sent already.

        What fails is raised by `finish`, for those that need it.
        """
        for one in attached:
            if b"" not in self._blobs:
                self._blobs[b""] = self.pool.submit(self.shared.bring, self.repository)
            if one.blob not in self._blobs:
                self._blobs[one.blob] = self.pool.submit(self.uploads.send, self.registry, self.repository, one.blob)
            if one.tag is None and one.manifest not in self._manifests:
                self._manifests[one.manifest] = self.pool.submit(self._put, one)

    def finish(self, attached: Iterable[Attached]) -> None:
        """Push these manifests, each after its blob. Raises RegistryError, when all have ended."""
        found = list(attached)
        self.begin(found)
        puts = [self._manifests[one.manifest] if one.tag is None else self.pool.submit(self._put, one) for one in found]
        wait(puts)
        for put in puts:
            put.result()

    def end(self) -> None:
        """Return when nothing is sent any longer. Uploads that were not needed are cancelled beside what follows."""
        wait([*self._blobs.values(), *self._manifests.values()])
        self.uploads.end()

    def _put(self, one: Attached) -> None:
        for blob in (one.blob, b""):
            self._blobs[blob].result()
        self.put(self.repository, one.manifest, one.tag)

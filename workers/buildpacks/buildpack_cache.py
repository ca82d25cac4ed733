"""Buildpacks that this node has fetched, by digest, so that the next build has them at once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import TooLargeError
from buildfarm.oci.digest import Digest

BUILDPACK_BYTES_MAX = 512 * 1024 * 1024

_CHUNK_BYTES = 1024 * 1024
_HALF = "half-"


@dataclass(frozen=True)
class BuildpackCache:
    """Archives in ``directory``, at most ``limit_bytes`` together; what was not used for longest goes first.

    Each tenant finds only what was fetched for it: a sandbox did that, after it had read what a tenant's own address
    sent.
    """

    directory: Path
    limit_bytes: int

    def find(self, tenant: str, source: str) -> Digest | None:
        """The digest of what was fetched from this pinned source."""
        with suppress(OSError, ValueError):
            digest = Digest(self._reference(tenant, source).read_text())
            os.utime(self._archive(digest))
            return digest
        return None

    def read(self, digest: Digest) -> Iterator[bytes]:
        """The archive. Raises OSError if it was forgotten meanwhile."""
        with self._archive(digest).open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def keep(self, tenant: str, source: str, write: Callable[[Callable[[bytes], None]], None]) -> Digest:
        """Keeps what ``write`` hands on, and returns its digest. A source that is not pinned is kept under none.

        Raises TooLargeError, OSError and what ``write`` raises.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor, half = tempfile.mkstemp(prefix=_HALF, dir=self.directory)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # for as long as it is written: see forget_halves
        total, size = hashlib.sha256(), 0
        try:
            with os.fdopen(descriptor, "wb") as file:

                def take(piece: bytes) -> None:
                    nonlocal size
                    size += len(piece)
                    if size > BUILDPACK_BYTES_MAX:
                        raise TooLargeError(f"A buildpack is larger than {BUILDPACK_BYTES_MAX:,} bytes.")
                    total.update(piece)
                    file.write(piece)

                write(take)
            digest = Digest(f"sha256:{total.hexdigest()}")
            if source:
                Path(half).rename(self._archive(digest))
                reference = self._reference(tenant, source)
                reference.parent.mkdir(exist_ok=True)
                reference.write_text(digest)
        finally:
            Path(half).unlink(missing_ok=True)
        self._forget_oldest()
        return digest

    def remove_partial(self) -> None:
        """Remove what a killed process left half-written. Another node on this machine may be writing meanwhile."""
        for half in self.directory.glob(f"{_HALF}*"):
            with suppress(OSError), half.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                half.unlink()

    def _archive(self, digest: Digest) -> Path:
        return self.directory / f"{digest.hex}.tar"

    def _reference(self, tenant: str, source: str) -> Path:
        return self.directory / "sources" / hashlib.sha256(f"{tenant}\0{source}".encode()).hexdigest()

    def _forget_oldest(self) -> None:
        ages: list[tuple[float, int, Path]] = []
        for archive in self.directory.glob("*.tar"):
            with suppress(FileNotFoundError):  # another build forgot it first
                status = archive.stat()
                ages.append((status.st_mtime, status.st_size, archive))
        total_bytes = 0
        for _, size_bytes, archive in sorted(ages, reverse=True):
            total_bytes += size_bytes
            if total_bytes > self.limit_bytes:
                archive.unlink(missing_ok=True)

"""This node's copies of caches' archives, by their digests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from buildfarm.oci.digest import Digest

_HALF = "half-"
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Copies:
    """The copies in one folder, of at most ``limit_bytes`` together."""

    directory: Path
    limit_bytes: int

    def read(self, digest: Digest) -> Iterator[bytes] | None:
        """The pieces of a copy; None if there is none."""
        copy = self.directory / digest.hex
        if not copy.exists():
            return None
        os.utime(copy)
        return _pieces(copy)

    def keep(self, digest: Digest, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces, and a copy of them after the last one: only then the digest is known to be right."""
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor, half = tempfile.mkstemp(prefix=_HALF, dir=self.directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                    yield piece
            Path(half).rename(self.directory / digest.hex)
        finally:
            Path(half).unlink(missing_ok=True)
        total_bytes = sum(size_bytes for _, size_bytes, _ in self._all())
        self.forget(total_bytes - self.limit_bytes)

    def forget(self, wanted_bytes: int) -> int:
        """Removes those that were used longest ago, until so many bytes are free; returns how many were."""
        freed_bytes = 0
        for _, size_bytes, copy in sorted(self._all()):
            if freed_bytes >= wanted_bytes:
                break
            copy.unlink(missing_ok=True)
            freed_bytes += size_bytes
        return freed_bytes

    def remove_partial(self) -> None:
        """Removes half-written copies. For the node's start, when none is being written."""
        for half in self.directory.glob(f"{_HALF}*"):
            half.unlink(missing_ok=True)

    def _all(self) -> list[tuple[float, int, Path]]:
        """When each was last used, its bytes, and where it is."""
        copies: list[tuple[float, int, Path]] = []
        for copy in self.directory.iterdir() if self.directory.is_dir() else ():
            if copy.name.startswith(_HALF):
                continue
            with suppress(FileNotFoundError):  # another build forgot it first
                status = copy.stat()
                copies.append((status.st_mtime, status.st_size, copy))
        return copies


def _pieces(copy: Path) -> Iterator[bytes]:
    with copy.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk

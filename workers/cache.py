"""Build caches: what an app's buildpacks keep between builds, as content of the registry for whichever node is next."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from buildfarm.errors import BuildfarmError, RegistryError, TooLargeError
from buildfarm.model import BuildRequest
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import EMPTY_CONFIG, artifact
from buildfarm.oci.layer import LayerStream, hash_raw
from buildfarm.oci.manifest import Descriptor, Manifest, media_types
from buildfarm.oci.registry import Registry
from buildfarm.oci.tree import tar_command, tree_names
from buildfarm.telemetry import Logger
from workers.sandbox import Sandbox

ARTIFACT_TYPE = "application/vnd.buildfarm.cache.v1"
DIFF_ID = "io.buildfarm.diff-id"
TAG = "cache"

_OWNER = 1000
_HALF = "half-"
_CHUNK_BYTES = 1024 * 1024

Log = Callable[[bytes], None]
Check = Callable[[], None]


@dataclass(frozen=True)
class Caches:
    """The caches of all apps, as one node uses them. A cache that fails costs time, never the build."""

    registry: Registry
    directory: Path  # copies of caches that this node restored lately, by digest
    cache_bytes: int  # a cache larger than this is not kept
    copies_bytes: int  # all copies on this node together
    threads: int
    logger: Logger
    count: Callable[[Literal["hit", "miss"]], object] = lambda result: None

    def restore(self, request: BuildRequest, sandbox: Sandbox, cache: Path, *, log: Log, check: Check) -> Digest | None:
        """Fills the sandbox's /cache, and returns the diff ID of what is in it; None where there is none.

        Raises what ends the build itself.
        """
        try:
            manifest = self._manifest(request)
            if manifest is None:
                self.count("miss")
                return None
            blob = manifest.layers[0]
            pieces = self._pieces(_repository(request), blob)
            # In the sandbox: the archive holds what strangers' code wrote.
            command = ["tar", "--extract", "--gzip", "--no-same-owner", "--strip-components=1", "--directory=/cache"]
            ended = sandbox.run(command, log=log, check=check, stdin=pieces)
        except (RegistryError, OSError) as error:
            self.logger.warning("cache_not_restored", reason=str(error))
            self.count("miss")
            _empty(cache)
            return None
        if ended.code != 0:
            self.logger.warning("cache_not_restored", reason=f"tar ended with {ended.code}")
            self.count("miss")
            _empty(cache)
            return None
        self.count("hit")
        log(f"-----> Cache restored ({blob.size / 1e6:.1f} MB)\n".encode())
        return Digest(manifest.annotations[DIFF_ID]) if DIFF_ID in manifest.annotations else None

    def save(self, request: BuildRequest, cache: Path, restored: Digest | None) -> None:
        """Keeps the folder for the app's next build, unless it is what was restored. Nobody may write to it now."""
        try:
            if any(cache.iterdir()):
                self._save(_repository(request), cache, restored)
        except TooLargeError:
            self.logger.info("cache_too_large", limit_bytes=self.cache_bytes)
        except (BuildfarmError, OSError) as error:
            self.logger.warning("cache_not_saved", reason=str(error))

    def _save(self, repository: str, cache: Path, restored: Digest | None) -> None:
        argv = tar_command(cache, owner=_OWNER, names=True)
        if restored is not None and hash_raw(argv, names=tree_names(cache)) == restored:
            return
        kept = self.registry.upload(
            repository,
            lambda: LayerStream(argv, names=tree_names(cache), limit_bytes=self.cache_bytes, threads=self.threads),
        )
        types = media_types("oci")
        blob = Descriptor(types.layers["gzip"], kept.digest, kept.size_bytes)
        self.registry.put_blob(repository, EMPTY_CONFIG)
        manifest = artifact(ARTIFACT_TYPE, [blob], annotations={DIFF_ID: kept.diff_id})
        self.registry.put_manifest(repository, manifest, types.manifest, tag=TAG)
        self.logger.info("cache_saved", size_bytes=kept.size_bytes)

    def _manifest(self, request: BuildRequest) -> Manifest | None:
        try:
            media_type, content, _ = self.registry.get_manifest(_repository(request), TAG)
            return Manifest.parse(content, media_type)
        except NotInRegistryError:
            return None
        except ValueError as error:
            raise RegistryError(f"The cache of {request.tenant}/{request.app} is not one: {error}.") from error

    def _pieces(self, repository: str, blob: Descriptor) -> Iterator[bytes]:
        """The archive, from this node's copy where there is one; else from the registry, leaving a copy."""
        copy = self.directory / blob.digest.hex
        if copy.exists():
            os.utime(copy)
            with copy.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor, half = tempfile.mkstemp(prefix=_HALF, dir=self.directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in self.registry.get_blob(repository, blob.digest, limit_bytes=blob.size):
                    file.write(chunk)
                    yield chunk
            # Only now the digest is known to be right.
            Path(half).rename(copy)
        finally:
            Path(half).unlink(missing_ok=True)
        total_bytes = sum(size_bytes for _, size_bytes, _ in self._copies())
        self.forget(total_bytes - self.copies_bytes)

    def forget(self, wanted_bytes: int) -> int:
        """Removes the copies that were used longest ago, until so many bytes are free; returns how many were."""
        freed_bytes = 0
        for _, size_bytes, copy in sorted(self._copies()):
            if freed_bytes >= wanted_bytes:
                break
            copy.unlink(missing_ok=True)
            freed_bytes += size_bytes
        return freed_bytes

    def forget_halves(self) -> None:
        """Removes half-written copies. For the node's start: nobody writes one then."""
        for half in self.directory.glob(f"{_HALF}*"):
            half.unlink(missing_ok=True)

    def _copies(self) -> list[tuple[float, int, Path]]:
        """When each was last used, its bytes, and where it is."""
        copies: list[tuple[float, int, Path]] = []
        for copy in self.directory.iterdir() if self.directory.is_dir() else ():
            if copy.name.startswith(_HALF):
                continue
            with suppress(FileNotFoundError):  # another build forgot it first
                status = copy.stat()
                copies.append((status.st_mtime, status.st_size, copy))
        return copies


def _repository(request: BuildRequest) -> str:
    return f"caches/{request.tenant}/{request.app}"


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

"""Build caches: what an app's buildpacks keep between builds, as content of the registry for whichever node is next."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from buildfarm.errors import BuildfarmError, RegistryError, TooLargeError
from buildfarm.model import BuildRequest
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.image import EMPTY_CONFIG, artifact
from buildfarm.oci.layer import LayerStream, hash_raw
from buildfarm.oci.manifest import Descriptor, Manifest, media_types
from buildfarm.oci.registry import Registry
from buildfarm.oci.tree import content_bytes
from buildfarm.telemetry import Logger
from workers.attempt.signals import Check, go_on
from workers.build_folder import Archive, BuildFolder
from workers.sandbox.container import Sandbox

ARTIFACT_TYPE = "application/vnd.buildfarm.cache.v1"
DIFF_ID = "io.buildfarm.diff-id"
STACK = "io.buildfarm.stack"
BUILDPACKS = "io.buildfarm.buildpacks"
TAG = "cache"

# Builders of earlier versions have no restore-cache; with them, files of a cache are of 1970.
_RESTORE = """
if [ -x /usr/lib/buildfarm/restore-cache ]; then exec /usr/lib/buildfarm/restore-cache; fi
exec tar --extract --gzip --no-same-owner --same-permissions --strip-components=1 --directory=/cache
"""

# Read-only folders, as Go's module cache has them, cannot be emptied before they are writable.
_EMPTY = """
find /cache -mindepth 1 -delete 2>/dev/null && exit
find /cache -mindepth 1 -type d -exec chmod u+rwx {} \\;
find /cache -mindepth 1 -delete
"""

_OWNER = 1000
_HALF = "half-"
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Restored:
    """What is in a sandbox's /cache at the start of a build."""

    diff_id: str
    buildpacks: str  # those that left it, by commas


@dataclass(frozen=True)
class Caches:
    """The caches of all apps, as one node uses them. A cache that fails costs time, never the build.

    A cache is one app's of one tenant, and is used by builds on the same stack with the same buildpacks only. It is
    written after a build succeeded.
    """

    registry: Registry
    directory: Path  # copies of caches that this node restored lately, by digest
    cache_bytes: int  # a cache larger than this is not kept
    copies_bytes: int  # all copies on this node together
    threads: int
    logger: Logger
    count: Callable[[Literal["hit", "miss"]], object] = lambda result: None
    check: Check = go_on

    def during(self, check: Check) -> Caches:
        """The same caches for one attempt: what ``check`` raises ends a transfer within a second."""
        return replace(self, registry=self.registry.during(check), check=check)

    def restore(self, request: BuildRequest, stack: str, sandbox: Sandbox) -> Restored | None:
        """Fills the sandbox's /cache with what the app's last build on this stack kept; None if there is nothing.

        Raises what ends the build itself.
        """
        try:
            manifest = self._manifest(request)
            if manifest is None or manifest.annotations.get(STACK) != stack:
                self.count("miss")
                return None
            blob = manifest.layers[0]
            pieces = self._pieces(_repository(request), blob)
            # In the sandbox: the archive holds what untrusted code wrote.
            ended = sandbox.run(["sh", "-c", _RESTORE], stdin=pieces)
            if ended.code == 0:
                self.count("hit")
                sandbox.log(f"-----> Cache restored ({blob.size / 1e6:.1f} MB)\n".encode())
                return Restored(manifest.annotations.get(DIFF_ID, ""), manifest.annotations.get(BUILDPACKS, ""))
            reason = f"the unpacking ended with {ended.code}"
        except (RegistryError, OSError) as error:
            reason = str(error)
        self.logger.warning("cache_not_restored", reason=reason)
        self.count("miss")
        self._empty(sandbox)
        return None

    def keep_for(self, buildpacks: Sequence[str], restored: Restored | None, sandbox: Sandbox) -> Restored | None:
        """What was restored, if it comes from the same buildpacks; else /cache is emptied again."""
        if restored is None or restored.buildpacks == ",".join(buildpacks):
            return restored
        sandbox.log(b"-----> Cache dropped: it comes from other buildpacks\n")
        self._empty(sandbox)
        return None

    def save(
        self,
        request: BuildRequest,
        stack: str,
        buildpacks: Sequence[str],
        cache: BuildFolder,
        restored: Restored | None,
    ) -> None:
        """Keeps the folder for the app's next build, unless it is what was restored. Nothing may write to it now.

        Raises nothing that ends a build: this one has ended. A deadline or a drain ends the upload, and is logged.
        """
        key = {STACK: stack, BUILDPACKS: ",".join(buildpacks)}
        try:
            found = cache.scan().found
            # Before it is read: a file with a hole may claim any size.
            if content_bytes(found) > self.cache_bytes:
                self.logger.info("cache_too_large", limit_bytes=self.cache_bytes)
            elif len(found) > 1:
                self._save(_repository(request), cache.archive(found, owner=_OWNER), restored, key)
        except TooLargeError as error:
            self.logger.info("cache_too_large", limit_bytes=self.cache_bytes, reason=error.message)
        except (BuildfarmError, OSError) as error:
            self.logger.warning("cache_not_saved", reason=str(error))

    def _save(self, repository: str, archive: Archive, restored: Restored | None, key: Mapping[str, str]) -> None:
        argv, names = archive.argv, archive.names
        if restored is not None and hash_raw(argv, names=names, check=self.check) == restored.diff_id:
            return
        kept = self.registry.upload(
            repository,
            lambda: LayerStream(argv, names=names, limit_bytes=self.cache_bytes, threads=self.threads),
        )
        types = media_types("oci")
        blob = Descriptor(types.layers["gzip"], kept.digest, kept.size_bytes)
        self.registry.put_blob(repository, EMPTY_CONFIG)
        manifest = artifact(ARTIFACT_TYPE, [blob], annotations={DIFF_ID: kept.diff_id, **key})
        self.registry.put_manifest(repository, manifest, types.manifest, tag=TAG)
        self.logger.info("cache_saved", size_bytes=kept.size_bytes)

    def _empty(self, sandbox: Sandbox) -> None:
        # In the sandbox too: the node must not walk a tree made by untrusted code.
        if sandbox.run(["bash", "-c", _EMPTY]).code != 0:
            self.logger.warning("cache_not_emptied")

    def _manifest(self, request: BuildRequest) -> Manifest | None:
        try:
            return self.registry.read_manifest(_repository(request), TAG)[0]
        except NotInRegistryError:
            return None
        except ValueError as error:
            raise RegistryError(
                f"The cache of {request.tenant}/{request.app} is not a valid cache: {error}."
            ) from error

    def _pieces(self, repository: str, blob: Descriptor) -> Iterator[bytes]:
        """The archive, from this node's copy if there is one; else from the registry, leaving a copy."""
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

    def remove_partial(self) -> None:
        """Removes half-written copies. For the node's start, when none is being written."""
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

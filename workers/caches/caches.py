"""Build caches: what an app's buildpacks keep between builds, as content of the registry for whichever node is next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
from workers.build_folder import Archive
from workers.caches.copies import Copies
from workers.caches.snapshots import Snapshots
from workers.sandbox.container import Sandbox
from workers.sandbox.overlay import Overlay
from workers.sandbox.workspace import Workspace

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
_TICK_SECONDS = 0.25


@dataclass(frozen=True)
class Restored:
    """What is in a sandbox's /cache at the start of a build."""

    diff_id: str
    buildpacks: str  # those that left it, by commas
    overlay: Overlay | None = None  # where the build stands on a snapshot of it

    @property
    def untouched(self) -> bool:
        """Whether /cache is certainly what it was; after the workspace was frozen."""
        return self.overlay is not None and self.overlay.cache_untouched()

    @property
    def unchanged(self) -> Mapping[str, str]:
        """Folders of the app that came from the cache and were not touched, as `Overlay.unchanged` gives them."""
        return self.overlay.unchanged() if self.overlay is not None else {}


@dataclass(frozen=True)
class Caches:
    """The caches of all apps, as one node uses them. A cache that fails costs time, never the build.

    A cache is one app's of one tenant, and is used by builds on the same stack with the same buildpacks only. It is
    written after a build succeeded.
    """

    registry: Registry
    copies: Copies  # of caches that this node restored lately
    snapshots: Snapshots
    cache_bytes: int  # a cache larger than this is not kept
    threads: int
    logger: Logger
    count: Callable[[Literal["hit", "snapshot", "miss"]], object] = lambda result: None
    check: Check = go_on
    _saving: dict[str, threading.Event] = field(default_factory=dict)  # by repository, set at the end

    def during(self, check: Check) -> Caches:
        """The same caches for one attempt: what ``check`` raises ends a transfer within a second."""
        return replace(self, registry=self.registry.during(check), check=check)

    def restore(self, request: BuildRequest, stack: str, workspace: Workspace, sandbox: Sandbox) -> Restored | None:
        """Fills /cache with what the app's last build on this stack kept; None if nothing was, or for a clean build.

        The workspace is as it was made: from a snapshot, /app and /cache become mounts of it. Raises what ends the
        build itself.
        """
        saving = self._saving.get(_repository(request))
        while saving is not None and not saving.wait(_TICK_SECONDS):
            self.check()
        if request.clean:
            sandbox.log(b"-----> Clean build: no cache is restored\n")
            return None
        try:
            manifest = self._manifest(request)
            if manifest is None or manifest.annotations.get(STACK) != stack:
                self.count("miss")
                return None
            blob = manifest.layers[0]
            self.snapshots.await_made(blob.digest, self.check)
            overlay = self.snapshots.lay(blob.digest, workspace)
            code = 0
            if overlay is None:
                # In the sandbox: the archive holds what untrusted code wrote.
                code = sandbox.run(["sh", "-c", _RESTORE], stdin=self._pieces(_repository(request), blob)).code
                self._want(_repository(request), blob)
            if code == 0:
                self.count("hit" if overlay is None else "snapshot")
                sandbox.log(f"-----> Cache restored ({blob.size / 1e6:.1f} MB)\n".encode())
                found = manifest.annotations
                return Restored(found.get(DIFF_ID, ""), found.get(BUILDPACKS, ""), overlay)
            reason = f"the unpacking ended with {code}"
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

    @contextmanager
    def saving(self, request: BuildRequest) -> Iterator[None]:
        """For the end of a build that others may already see: the app's next one on this node waits for its cache."""
        saved = self._saving[_repository(request)] = threading.Event()
        try:
            yield
        finally:
            saved.set()
            if self._saving.get(_repository(request)) is saved:
                del self._saving[_repository(request)]

    def save(
        self,
        request: BuildRequest,
        stack: str,
        buildpacks: Sequence[str],
        workspace: Workspace,
        restored: Restored | None,
    ) -> None:
        """Keeps /cache for the app's next build, unless it is what was restored. Nothing may write to it now.

        Raises nothing that ends a build: this one has ended. A deadline or a drain ends the upload, and is logged.
        """
        key = {STACK: stack, BUILDPACKS: ",".join(buildpacks)}
        try:
            if restored is not None and restored.untouched:
                return
            cache = workspace.cache
            found = cache.scan().found
            # Before it is read: a file with a hole may claim any size.
            if content_bytes(found) > self.cache_bytes:
                self.logger.info("cache_too_large", limit_bytes=self.cache_bytes)
            elif len(found) > 1:
                self._save(_repository(request), workspace, cache.archive(found, owner=_OWNER), restored, key)
        except TooLargeError as error:
            self.logger.info("cache_too_large", limit_bytes=self.cache_bytes, reason=error.message)
        except (BuildfarmError, OSError) as error:
            self.logger.warning("cache_not_saved", reason=str(error))

    def _save(
        self,
        repository: str,
        workspace: Workspace,
        archive: Archive,
        restored: Restored | None,
        key: Mapping[str, str],
    ) -> None:
        argv, names = archive.argv, archive.names
        if restored is not None and hash_raw(argv, names=names, check=self.check) == restored.diff_id:
            return
        kept = self.registry.upload(
            repository,
            lambda: LayerStream(argv, names=names, limit_bytes=self.cache_bytes, threads=self.threads),
        )
        workspace.check_written()  # what was lost has been read as zeros
        types = media_types("oci")
        blob = Descriptor(types.layers["gzip"], kept.digest, kept.size_bytes)
        self.registry.put_blob(repository, EMPTY_CONFIG)
        manifest = artifact(ARTIFACT_TYPE, [blob], annotations={DIFF_ID: kept.diff_id, **key})
        self.registry.put_manifest(repository, manifest, types.manifest, tag=TAG)
        self.logger.info("cache_saved", size_bytes=kept.size_bytes)
        self._want(repository, blob)

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

    def _pieces(self, repository: str, blob: Descriptor) -> Iterable[bytes]:
        """The archive, from this node's copy if there is one; else from the registry, leaving a copy."""
        copy = self.copies.read(blob.digest)
        if copy is not None:
            return copy
        return self.copies.keep(blob.digest, self.registry.get_blob(repository, blob.digest, limit_bytes=blob.size))

    def _want(self, repository: str, blob: Descriptor) -> None:
        """Have a snapshot for the app's next build. It is made when this one has ended, so no check of it applies."""
        later = replace(self, registry=self.registry.during(go_on))
        self.snapshots.want(blob.digest, lambda: later._pieces(repository, blob))

    def start(self) -> None:
        """Removes what an earlier process left half-done. For the node's start, when no build runs."""
        self.copies.remove_partial()
        self.snapshots.remove_all()

    def forget(self, wanted_bytes: int) -> int:
        """Removes what was used longest ago, until so many bytes are free; returns how many were."""
        freed_bytes = self.snapshots.forget(wanted_bytes)
        return freed_bytes + self.copies.forget(wanted_bytes - freed_bytes)


def _repository(request: BuildRequest) -> str:
    return f"caches/{request.tenant}/{request.app}"

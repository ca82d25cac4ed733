"""Uploads that are opened while a build still sends its image: its signatures then need one request fewer each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field

from buildfarm.errors import RegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.reference import check_repository
from buildfarm.oci.registry import Registry
from buildfarm.oci.upload import Session

KEPT_SECONDS = 60.0
_REPOSITORIES_MAX = 50


@dataclass(frozen=True)
class OpenUploads:
    """Those of one repository, some of which are still being opened. Safe for several threads."""

    opened: float  # by a monotonic clock, in seconds
    sessions: list[Future[Session]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, registry: Registry, repository: str, content: bytes) -> None:
        """Send a small blob, by one of these if there is one. Raises RegistryError."""
        if opening := self._next():
            with suppress(RegistryError):  # such as one that the registry has removed meanwhile
                return opening.result().finish(Digest.of(content), content)
        registry.put_blob(repository, content, look=False)
        return None

    def end(self) -> None:
        """Cancel those that are left; raises nothing."""
        while opening := self._next():
            if not opening.cancel():
                with suppress(RegistryError):
                    opening.result().cancel()

    def _next(self) -> Future[Session] | None:
        with self._lock:
            return self.sessions.pop() if self.sessions else None


@dataclass(frozen=True)
class UploadsAhead:
    """Those of this process, by repository. Only speed depends on them. Safe for several threads."""

    registry: Registry
    pool: Executor
    clock: Callable[[], float] = time.monotonic
    _expected: dict[str, OpenUploads] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, repository: str, count: int) -> None:
        """Begin to open so many, unless that was done a moment ago. Raises ValueError for a bad name."""
        check_repository(repository)
        with self._lock:
            if repository not in self._expected and len(self._expected) < _REPOSITORIES_MAX:
                opening = [self.pool.submit(self.registry.open_upload, repository) for _ in range(count)]
                self._expected[repository] = OpenUploads(self.clock(), opening)

    def take(self, repository: str) -> OpenUploads:
        """What was opened for a repository, or is being opened; nothing else gets it. The caller ends it."""
        with self._lock:
            return self._expected.pop(repository, None) or OpenUploads(self.clock())

    def tidy(self) -> None:
        """Cancel what was opened a while ago and not used, such as for a build that failed; raises nothing."""
        until = self.clock() - KEPT_SECONDS
        with self._lock:
            late = [repository for repository, uploads in self._expected.items() if uploads.opened < until]
        for repository in late:
            self.take(repository).end()

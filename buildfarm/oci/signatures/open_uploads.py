"""Uploads that are opened while a build still sends its image: its signatures then need one request fewer each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from buildfarm.errors import RegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.reference import check_repository
from buildfarm.oci.registry import Registry
from buildfarm.oci.upload import Session

KEPT_SECONDS = 10.0
REPOSITORIES_MAX = 50
_NEW_SECONDS = 1.0  # so nobody who announces names without end has more than 50 a second opened
_LATE_SECONDS = 1.0  # for which a blob waits for its upload to open
_CLOSE_SECONDS = 5.0
_THREADS = 8  # apart from those that sign: a registry that does not answer holds these alone


@dataclass(frozen=True)
class OpenUploads:
    """Those of one repository, some of which are still being opened. Safe for several threads."""

    opened: float  # by a monotonic clock, in seconds
    pool: Executor  # which opens and cancels them
    sessions: list[Future[Session]] = field(default_factory=list)
    late_seconds: float = _LATE_SECONDS
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, registry: Registry, repository: str, content: bytes) -> None:
        """Send a small blob, by one of these if there is one. Raises RegistryError."""
        if opening := self._next():
            try:  # the registry may have removed the upload meanwhile
                if opening.running() or opening.done():
                    return opening.result(self.late_seconds).finish(Digest.of(content), content)
            except (RegistryError, TimeoutError):
                pass
            self._give_up(opening)
        registry.put_blob(repository, content, look=False)
        return None

    def end(self) -> None:
        """Cancel those that are left, beside what follows; raises nothing."""
        while opening := self._next():
            self._give_up(opening)

    def _next(self) -> Future[Session] | None:
        with self._lock:
            return self.sessions.pop(0) if self.sessions else None

    def _give_up(self, opening: Future[Session]) -> None:
        if not opening.cancel():
            with suppress(RuntimeError):  # the pool is closed
                self.pool.submit(_cancel, opening)


def _cancel(opening: Future[Session]) -> None:
    with suppress(RegistryError, CancelledError):
        opening.result().cancel()


@dataclass(frozen=True)
class UploadsAhead:
    """Those of this process, by repository. Only speed depends on them. Safe for several threads."""

    registry: Registry
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_THREADS, "ahead"), repr=False)
    clock: Callable[[], float] = time.monotonic
    _expected: dict[str, OpenUploads] = field(default_factory=dict)  # the oldest first
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, repository: str, count: int) -> None:
        """Begin to open so many, unless that was done a moment ago. Raises ValueError for a bad name.

        If too many repositories are expected, the oldest of them gives way, unless it is new itself.
        """
        check_repository(repository)
        with self._lock:
            if repository not in self._expected and self._has_room():
                opening = [self.pool.submit(self.registry.open_upload, repository) for _ in range(count)]
                self._expected[repository] = OpenUploads(self.clock(), self.pool, opening)

    def _has_room(self) -> bool:
        if len(self._expected) >= REPOSITORIES_MAX:
            oldest = next(iter(self._expected))
            if self._expected[oldest].opened > self.clock() - _NEW_SECONDS:
                return False
            self._expected.pop(oldest).end()
        return True

    def take(self, repository: str) -> OpenUploads:
        """What was opened for a repository, or is being opened; nothing else gets it. The caller ends it."""
        with self._lock:
            return self._expected.pop(repository, None) or OpenUploads(self.clock(), self.pool)

    def tidy(self) -> None:
        """Cancel what was opened a while ago and not used, such as for a build that failed; waits for nothing."""
        self._end(self.clock() - KEPT_SECONDS)

    def close(self) -> None:
        """Cancel all that is left, for some seconds at most; raises nothing."""
        self._end(self.clock() + 1)
        closing = threading.Thread(target=self.pool.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _end(self, until: float) -> None:
        with self._lock:
            for repository in [name for name, uploads in self._expected.items() if uploads.opened < until]:
                self._expected.pop(repository).end()

"""Uploads that are opened while a build still sends its image: its signatures then need one request fewer each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from buildfarm.errors import RegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.oci.upload import Session

KEPT_SECONDS = 60.0
_REPOSITORIES_MAX = 50


@dataclass
class OpenUploads:
    """Those of one repository. Safe for several threads."""

    opened: float  # by a monotonic clock, in seconds
    _sessions: list[Session] = field(default_factory=list)
    _is_over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, session: Session) -> None:
        """One more; it is cancelled if they are not needed any longer."""
        with self._lock:
            if not self._is_over:
                return self._sessions.append(session)
        return session.cancel()

    def send(self, registry: Registry, repository: str, content: bytes) -> None:
        """Send a small blob, by one of these if there is one. Raises RegistryError."""
        with self._lock:
            session = self._sessions.pop() if self._sessions else None
        if session is not None:
            with suppress(RegistryError):  # such as one that the registry has removed meanwhile
                return session.finish(Digest.of(content), content)
        registry.put_blob(repository, content, look=False)
        return None

    def end(self) -> None:
        """Cancel those that are left; raises nothing."""
        with self._lock:
            self._is_over, left = True, self._sessions[:]
            self._sessions.clear()
        for session in left:
            session.cancel()


@dataclass(frozen=True)
class UploadsAhead:
    """Those of this process, by repository. Only speed depends on them. Safe for several threads."""

    registry: Registry
    clock: Callable[[], float] = time.monotonic
    _expected: dict[str, OpenUploads] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, repository: str, count: int) -> None:
        """Open so many, unless that was done a moment ago. Raises RegistryError, and ValueError for a bad name."""
        with self._lock:
            if repository in self._expected or len(self._expected) >= _REPOSITORIES_MAX:
                return
            uploads = self._expected[repository] = OpenUploads(self.clock())
        for _ in range(count):
            uploads.add(self.registry.open_upload(repository))

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

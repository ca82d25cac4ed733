"""The blobs that all signatures name as their configs: every repository with a signed image has each of them once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from buildfarm.errors import RegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.oci.retry import UnavailableError
from buildfarm.oci.signatures.simple import CONFIG, EMPTY

_REPOSITORIES_MAX = 10_000


@dataclass(frozen=True)
class SharedBlobs:
    """Brings them into repositories. Safe for several threads. Methods raise RegistryError."""

    registry: Registry
    _there: OrderedDict[str, None] = field(default_factory=OrderedDict)  # repositories that had them, the newest last
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def bring(self, repository: str) -> None:
        """Make sure that the repository has had them at some time since this process began.

        From another repository each comes in one request, without being sent.
        """
        with self._lock:
            if repository in self._there:
                return
            source = next(reversed(self._there), "")
        for blob in (CONFIG, EMPTY):
            if not source or not self._mount(repository, blob, source):
                self.registry.put_blob(repository, blob, look=False)
        self._keep(repository)

    def restore(self, repository: str) -> None:
        """The registry lacks one after all, such as after a collection."""
        for blob in (CONFIG, EMPTY):
            self.registry.put_blob(repository, blob)
        self._keep(repository)

    def _mount(self, repository: str, blob: bytes, source: str) -> bool:
        try:
            return self.registry.mount(repository, Digest.of(blob), source)
        except UnavailableError:
            raise
        except RegistryError:  # such as without the right to read the other repository
            return False

    def _keep(self, repository: str) -> None:
        with self._lock:
            self._there[repository] = None
            self._there.move_to_end(repository)
            if len(self._there) > _REPOSITORIES_MAX:
                self._there.popitem(last=False)

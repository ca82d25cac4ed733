"""The empty blob that each signature names as its config: every repository with a signed image has it once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.oci.signatures.simple import EMPTY

_REPOSITORIES_MAX = 10_000


@dataclass(frozen=True)
class EmptyBlob:
    """Brings it into repositories. Safe for several threads. Methods raise RegistryError."""

    registry: Registry
    _there: OrderedDict[str, None] = field(default_factory=OrderedDict)  # repositories that had it, the newest last
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def bring(self, repository: str) -> None:
        """Make sure that the repository has had it at some time since this process began.

        From another repository it comes in one request, without being sent.
        """
        with self._lock:
            if repository in self._there:
                return
            source = next(reversed(self._there), "")
        if not source or not self.registry.mount(repository, Digest.of(EMPTY), source):
            self.registry.put_blob(repository, EMPTY, look=False)
        self._keep(repository)

    def restore(self, repository: str) -> None:
        """The registry lacks it after all, such as after a collection."""
        self.registry.put_blob(repository, EMPTY)
        self._keep(repository)

    def _keep(self, repository: str) -> None:
        with self._lock:
            self._there[repository] = None
            if len(self._there) > _REPOSITORIES_MAX:
                self._there.popitem(last=False)

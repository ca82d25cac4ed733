"""The sandbox pool: workspaces with a started sandbox in them, made for a build or ahead of one."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from workers.attempt.signals import Check, Log, drop, go_on
from workers.sandbox.container import Sandbox, Sandboxes
from workers.sandbox.workspace import Workspace, Workspaces


@dataclass(frozen=True)
class PooledSandbox:
    """A sandbox and its workspace; ``resources`` removes both."""

    name: str
    image: str
    workspace: Workspace
    sandbox: Sandbox
    resources: ExitStack


@dataclass(frozen=True)
class SandboxPool:
    """The sandboxes of one node, of which up to ``ready_max`` wait for builds. Safe to use from several threads.

    Making one takes about half of the phase prepare; none is used twice.
    """

    workspaces: Workspaces
    sandboxes: Sandboxes
    ready_max: int
    _ready: list[PooledSandbox] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def take(
        self, name: str, image: str, environment: Mapping[str, str], *, log: Log = drop, check: Check = go_on
    ) -> Iterator[tuple[Workspace, Sandbox]]:
        """A box of this image for one build, named ``name`` where it is made now. Raises NodeError."""
        pooled = self._ready_one(image) or self._make(name, image)
        try:
            yield pooled.workspace, replace(pooled.sandbox, environment=environment, log=log, check=check)
        finally:
            self._remove(pooled)

    def fill(self, image: str) -> None:
        """Makes boxes until as many are ready as should be, and removes those of another image. Raises NodeError."""
        self._remove_ready(lambda pooled: pooled.image != image)
        while len(self._ready) < self.ready_max:
            pooled = self._make(f"buildfarm-ready-{secrets.token_hex(4)}", image)
            with self._lock:
                self._ready.append(pooled)

    def empty(self) -> None:
        """Removes those that are ready: the node ends. Raises NodeError."""
        self._remove_ready(lambda pooled: True)

    def names(self) -> set[str]:
        """Names of those that are ready, that are being made, or that a build has."""
        with self._lock:
            return set(self._names)

    def _ready_one(self, image: str) -> PooledSandbox | None:
        """One that still runs: an engine that died may have taken its sandboxes along."""
        while True:
            with self._lock:
                pooled = next((pooled for pooled in self._ready if pooled.image == image), None)
                if pooled is None:
                    return None
                self._ready.remove(pooled)
            if pooled.sandbox.runs():
                return pooled
            self._remove(pooled)

    def _make(self, name: str, image: str) -> PooledSandbox:
        with self._lock:
            self._names.add(name)
        try:
            with ExitStack() as resources:
                workspace = resources.enter_context(self.workspaces.make(name))
                sandbox = resources.enter_context(self.sandboxes.make(image, name, workspace, {}))
                return PooledSandbox(name, image, workspace, sandbox, resources.pop_all())
        except BaseException:
            self._forget(name)
            raise

    def _remove(self, pooled: PooledSandbox) -> None:
        try:
            pooled.resources.close()
        finally:
            self._forget(pooled.name)

    def _remove_ready(self, unwanted: Callable[[PooledSandbox], bool]) -> None:
        with self._lock:
            gone = [pooled for pooled in self._ready if unwanted(pooled)]
            self._ready[:] = [pooled for pooled in self._ready if pooled not in gone]
        for pooled in gone:
            self._remove(pooled)

    def _forget(self, name: str) -> None:
        """It has no owner now; the janitor removes any leftovers."""
        with self._lock:
            self._names.discard(name)

"""Boxes: a workspace with a started sandbox in it, made for a build, or kept ready before there is one."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from workers.sandbox.container import Sandbox, Sandboxes
from workers.sandbox.workspace import Workspace, Workspaces


@dataclass(frozen=True)
class Box:
    """One of them; ``resources`` removes it."""

    name: str
    image: str
    workspace: Workspace
    sandbox: Sandbox
    resources: ExitStack


@dataclass(frozen=True)
class Boxes:
    """The boxes of one node, of which up to ``ready_max`` wait for builds. Safe to use from several threads.

    Making one takes about half of the phase prepare; none is used twice.
    """

    workspaces: Workspaces
    sandboxes: Sandboxes
    ready_max: int
    _ready: list[Box] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def take(self, name: str, image: str, environment: Mapping[str, str]) -> Iterator[tuple[Workspace, Sandbox]]:
        """A box of this image for one build, named ``name`` where it is made now. Raises NodeError."""
        box = self._ready_one(image) or self._make(name, image)
        try:
            yield box.workspace, replace(box.sandbox, environment=environment)
        finally:
            self._remove(box)

    def fill(self, image: str) -> None:
        """Makes boxes until as many are ready as should be, and removes those of another image. Raises NodeError."""
        self._remove_ready(lambda box: box.image != image)
        while len(self._ready) < self.ready_max:
            box = self._make(f"buildfarm-ready-{secrets.token_hex(4)}", image)
            with self._lock:
                self._ready.append(box)

    def empty(self) -> None:
        """Removes those that are ready: the node ends. Raises NodeError."""
        self._remove_ready(lambda box: True)

    def names(self) -> set[str]:
        """Names of those that are ready, that are being made, or that a build has."""
        with self._lock:
            return set(self._names)

    def _ready_one(self, image: str) -> Box | None:
        """One that still runs: an engine that died may have taken its sandboxes along."""
        while True:
            with self._lock:
                box = next((box for box in self._ready if box.image == image), None)
                if box is None:
                    return None
                self._ready.remove(box)
            if box.sandbox.runs():
                return box
            self._remove(box)

    def _make(self, name: str, image: str) -> Box:
        with self._lock:
            self._names.add(name)
        try:
            with ExitStack() as resources:
                workspace = resources.enter_context(self.workspaces.make(name))
                sandbox = resources.enter_context(self.sandboxes.make(image, name, workspace, {}))
                return Box(name, image, workspace, sandbox, resources.pop_all())
        except BaseException:
            self._forget(name)
            raise

    def _remove(self, box: Box) -> None:
        try:
            box.resources.close()
        finally:
            self._forget(box.name)

    def _remove_ready(self, unwanted: Callable[[Box], bool]) -> None:
        with self._lock:
            gone = [box for box in self._ready if unwanted(box)]
            self._ready[:] = [box for box in self._ready if box not in gone]
        for box in gone:
            self._remove(box)

    def _forget(self, name: str) -> None:
        """It is no one's any more: what may be left of it is the janitor's."""
        with self._lock:
            self._names.discard(name)

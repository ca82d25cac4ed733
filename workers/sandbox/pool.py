"""The sandbox pool: workspaces with a started sandbox in them, made for a build or ahead of one."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from workers.attempt.signals import Check, Log, drop, go_on
from workers.sandbox.container import Sandbox, Sandboxes
from workers.sandbox.workspace import SLOTS_MAX, Workspace, Workspaces

_REMEMBERED = 20  # builds, by which the next ones' builders are guessed
STEPS_AHEAD = 3  # source, detect, compile: what a build on a snapshot runs; each costs 43 ms of processor time


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

    Making one takes about half of the phase prepare, and removing one a quarter of a second: both are done beside the
    builds, whenever ``due`` is set. None is used twice.
    """

    workspaces: Workspaces
    sandboxes: Sandboxes
    ready_max: int
    due: threading.Event = field(default_factory=threading.Event)
    _ready: list[PooledSandbox] = field(default_factory=list)
    _used: list[PooledSandbox] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)
    _demand: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))  # images of the newest builds
    _taken_at: deque[float] = field(default_factory=lambda: deque([0.0], maxlen=1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def take(
        self,
        name: str,
        image: str,
        environment: Mapping[str, str],
        *,
        log: Log = drop,
        check: Check = go_on,
        for_build: bool = True,
    ) -> Iterator[tuple[Workspace, Sandbox]]:
        """A sandbox of this image for one build, named ``name`` if it is made now. Raises NodeError.

        What is not ``for_build`` gets one that is made now: those that are ready are for the next builds.
        """
        pooled = None
        if for_build:
            self._taken_at.append(time.monotonic())
            with self._lock:
                self._demand.append(image)
            pooled = self._ready_one(image)
        pooled = pooled or self._make_now(name, image)
        try:
            yield pooled.workspace, replace(pooled.sandbox, environment=environment, log=log, check=check)
        finally:
            with self._lock:
                self._used.append(pooled)
            self.due.set()

    def fill(self, image: str, others: Collection[str] = ()) -> None:
        """Makes sandboxes until as many are ready as should be; removes those of too many. Raises NodeError.

        They are of ``image``, and of each of the ``others`` according to the newest builds' demand.
        """
        with self._lock:
            demand = tuple(self._demand)
        wanted = shares(demand, image, others, self.ready_max)
        self._remove_ready(_beyond(wanted))
        for each in sorted(wanted, key=lambda other: other != image):
            while self._count(each) < wanted[each] and len(self._ready) < self._room():
                name = f"buildfarm-ready-{secrets.token_hex(4)}"
                pooled = self._make(name, each, steps_ahead=STEPS_AHEAD)
                with self._lock:
                    self._ready.append(pooled)

    def empty(self) -> None:
        """Removes those that are ready: the node ends, or lacks memory. Raises NodeError."""
        self._remove_ready(lambda pooled: True)

    @property
    def has_ready(self) -> bool:
        """Whether a build would find one."""
        return bool(self._ready)

    def taken_seconds(self, now: float) -> float:
        """How long ago a build began."""
        return now - self._taken_at[0]

    def remove_used(self) -> None:
        """Removes those whose builds have ended, or that none is to have. Raises NodeError."""
        while True:
            with self._lock:
                if not self._used:
                    return
                pooled = self._used.pop(0)
            self._remove(pooled)

    def _count(self, image: str) -> int:
        with self._lock:
            return sum(pooled.image == image for pooled in self._ready)

    def _room(self) -> int:
        """How many may be ready: each has its own user, as every build has."""
        with self._lock:
            others = len(self._names) - len(self._ready)
        return min(self.ready_max, SLOTS_MAX // 2 - others)

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

    def _make_now(self, name: str, image: str) -> PooledSandbox:
        if len(self.names()) >= SLOTS_MAX // 2:
            self.remove_used()
        return self._make(name, image)

    def _make(self, name: str, image: str, *, steps_ahead: int = 0) -> PooledSandbox:
        with self._lock:
            self._names.add(name)
        try:
            with ExitStack() as resources:
                workspace = resources.enter_context(self.workspaces.make(name))
                made = self.sandboxes.make(image, name, workspace, {}, steps_ahead=steps_ahead)
                sandbox = resources.enter_context(made)
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
            self._used.extend(gone)  # if one cannot be removed, the others are still to go
        if gone:
            self.remove_used()

    def _forget(self, name: str) -> None:
        """It has no owner now; the janitor removes any leftovers."""
        with self._lock:
            self._names.discard(name)


def shares(demand: Sequence[str], image: str, others: Collection[str], room: int) -> Counter[str]:
    """How many sandboxes of each image wait, out of the images of the newest builds: the highest averages win.

    Builds of an image that is no longer in use count for ``image``, which also gets what nothing else asks for.
    """
    known = [each if each in others else image for each in demand]
    asked, given = Counter(known), Counter[str]()
    asked[image] += not asked[image]
    for _ in range(room):
        given[max(asked, key=lambda each: (asked[each] / (given[each] + 1), each == image))] += 1
    return given


def _beyond(wanted: Mapping[str, int]) -> Callable[[PooledSandbox], bool]:
    """Whether a sandbox is one more of its image than is wanted; to be asked of each once."""
    left = Counter(wanted)

    def is_beyond(pooled: PooledSandbox) -> bool:
        left[pooled.image] -= 1
        return left[pooled.image] < 0

    return is_beyond

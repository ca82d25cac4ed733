"""The sandbox pool: workspaces with a started sandbox in them, made for a build or ahead of one."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from buildfarm.errors import NodeError
from buildfarm.model import Build
from buildfarm.queue.names import STANDARD, size_of
from buildfarm.telemetry import logger
from workers.attempt.memory import NoMemoryError, SandboxMemory
from workers.attempt.signals import Check, Log, drop, go_on
from workers.sandbox.container import Sandbox, Sandboxes, containers_of
from workers.sandbox.pauses.containers import PauseContainers
from workers.sandbox.workspace import SLOTS_MAX, Workspace, Workspaces

_T = TypeVar("_T", bound=Hashable)

_REMEMBERED = 20  # builds, by which the next ones' builders and sizes are guessed
_MEMORY_WAIT_SECONDS = 0.1
STEPS_AHEAD = 1  # its parts are source and detect, and it becomes compile; each costs 43 ms of processor time


class Wanted(NamedTuple):
    """What a build needs a sandbox to be."""

    image: str
    size: str = STANDARD


@dataclass(frozen=True)
class Makers:
    """What makes the sandboxes of one size, and how much memory each has."""

    workspaces: Workspaces
    sandboxes: Sandboxes
    memory_bytes: int = 0


@dataclass(frozen=True)
class PooledSandbox:
    """A sandbox and its workspace; ``resources`` removes both."""

    name: str
    wanted: Wanted
    workspace: Workspace
    sandbox: Sandbox
    resources: ExitStack
    network: str = ""  # of a pause container

    @property
    def image(self) -> str:
        """What it is a container of."""
        return self.wanted.image


@dataclass(frozen=True)
class SandboxPool:
    """The sandboxes of one node, of which up to ``ready_max`` wait for builds. Safe to use from several threads.

    Making one takes about half of the phase prepare, and removing one a quarter of a second: both are done beside the
    builds, whenever ``due`` is set. None is used twice.
    """

    workspaces: Workspaces  # of the size standard, and of what else than a build needs one
    sandboxes: Sandboxes
    ready_max: int
    sizes: Mapping[str, Makers] = field(default_factory=dict)  # of the others that the node serves
    memory: SandboxMemory = field(default_factory=SandboxMemory)
    memory_bytes: int = 0  # of one of the size standard
    fills: Sequence[str] = (STANDARD,)  # sizes that may wait ready; the first one has what no build asks for
    size: str = STANDARD  # of those that are taken
    pauses: PauseContainers | None = None  # whose networks the ready ones get; None: the engine makes each its network
    due: threading.Event = field(default_factory=threading.Event)
    handed_over: threading.Event = field(default_factory=threading.Event)  # a build of these goes on at the signer
    _ready: list[PooledSandbox] = field(default_factory=list)
    _used: list[PooledSandbox] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)
    _demand: deque[Wanted] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))  # of the newest builds
    _taken_at: deque[float] = field(default_factory=lambda: deque([0.0], maxlen=1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, build: Build | None) -> SandboxPool:
        """The same pool, for a build of this one's size."""
        return replace(self, size=size_of(build and build.request))

    @property
    def disk_bytes(self) -> int:
        """How large the workspaces of its size are."""
        return self._makers(self.size).workspaces.limit_bytes

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
        shares_memory: bool = False,
    ) -> Iterator[tuple[Workspace, Sandbox]]:
        """A sandbox of this image for one build, named ``name`` if it is made now. Raises NodeError.

        What is not ``for_build`` gets one that is made now: those that are ready are for the next builds. It gets only
        memory that no build uses or waits for, else NoMemoryError; the last one that is ready stays. What
        ``shares_memory`` counts with its build's own sandbox, which is idle meanwhile.
        """
        pooled = None
        wanted = Wanted(image, self.size)
        if for_build:
            self._taken_at.append(time.monotonic())
            with self._lock:
                self._demand.append(wanted)
            pooled = self._ready_one(wanted)
        pooled = pooled or self._make_now(name, wanted, check if for_build else None, shares_memory=shares_memory)
        try:
            yield pooled.workspace, replace(pooled.sandbox, environment=environment, log=log, check=check)
        finally:
            with self._lock:
                self._used.append(pooled)
            self.due.set()

    def fill(self, image: str, others: Collection[str] = ()) -> None:
        """Makes sandboxes until as many are ready as should be; removes those of too many. Raises NodeError.

        They are of ``image``, and of each of the ``others`` and of the sizes according to the newest builds' demand.
        """
        with self._lock:
            demand = tuple(self._demand)
        usual = Wanted(image, self.fills[0])
        known = {Wanted(other, size) for other in (image, *others) for size in self.fills}
        wanted = shares(demand, usual, known, self.ready_max)
        self._remove_ready(_beyond(wanted))
        if self.pauses:
            self.pauses.leave_only({each.image for each in wanted})
        for each in sorted(wanted, key=lambda other: other != usual):
            while self._count(each) < wanted[each] and len(self._ready) < self._room():
                name = f"buildfarm-ready-{secrets.token_hex(4)}"
                if not self.memory.enter(name, self._makers(each.size).memory_bytes, for_build=False):
                    break  # builds have it
                pooled = self._make(name, each, ready=True)
                with self._lock:
                    self._ready.append(pooled)

    def prepare_networks(self) -> None:
        """Has one more network for each image of which sandboxes wait, up to as many as these. Raises NodeError."""
        if self.pauses:
            with self._lock:
                images = Counter(pooled.image for pooled in self._ready)
            for image, count in images.items():
                self.pauses.prepare(image, count)

    def remove_ended(self) -> None:
        """Removes those that are ready and no longer run; `fill` then makes others. Raises NodeError."""
        with self._lock:
            ready = list(self._ready)
        if ready:
            running = containers_of(self.sandboxes.client, self.sandboxes.spec.node_id, only_running=True)
            self._remove_ready(
                lambda pooled: (
                    pooled in ready and not (pooled.sandbox.container_id in running and self._has_network(pooled))
                )
            )

    def empty(self) -> None:
        """Removes those that are ready: the node ends, or lacks memory. Raises NodeError."""
        try:
            self._remove_ready(lambda pooled: True)
        finally:
            if self.pauses:
                self.pauses.leave_only(set())

    def close(self) -> None:
        """Keeps no network of a sandbox that goes from now on. Raises NodeError."""
        if self.pauses:
            self.pauses.close()

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

    def _makers(self, size: str) -> Makers:
        return self.sizes.get(size) or Makers(self.workspaces, self.sandboxes, self.memory_bytes)

    def _count(self, wanted: Wanted) -> int:
        with self._lock:
            return sum(pooled.wanted == wanted for pooled in self._ready)

    def _room(self) -> int:
        """How many may be ready: each has its own user, as every build has."""
        with self._lock:
            others = len(self._names) - len(self._ready)
        return min(self.ready_max, SLOTS_MAX // 2 - others)

    def names(self) -> set[str]:
        """Names of those that are ready, that are being made, or that a build has, and of the pause containers."""
        with self._lock:
            names = set(self._names)
        return names | self.pauses.names() if self.pauses else names

    def _ready_one(self, wanted: Wanted) -> PooledSandbox | None:
        """One that still runs: an engine that died may have taken its sandboxes along."""
        while True:
            with self._lock:
                pooled = next((pooled for pooled in self._ready if pooled.wanted == wanted), None)
                if pooled is None:
                    return None
                self._ready.remove(pooled)
            if self._has_network(pooled) and pooled.sandbox.runs():
                return pooled
            self._remove(pooled)

    def _has_network(self, pooled: PooledSandbox) -> bool:
        return self.pauses is None or self.pauses.works(pooled.network)

    @contextmanager
    def reserve(self, name: str, check: Check) -> Iterator[None]:
        """The memory of a sandbox that is made elsewhere, for the length of the block. Raises NodeError."""
        self._wait_for_memory(name, self._makers(self.size).memory_bytes, check)
        try:
            yield
        finally:
            self.memory.leave(name)

    def _make_now(self, name: str, wanted: Wanted, check: Check | None, *, shares_memory: bool) -> PooledSandbox:
        with self._lock:
            many = len(self._names) >= SLOTS_MAX // 2
        if many:
            self.remove_used()
        memory_bytes = 0 if shares_memory else self._makers(wanted.size).memory_bytes
        ready = self._wait_for_memory(name, memory_bytes, check, wanted)
        return ready or self._make(name, wanted, for_build=check is not None)

    def _wait_for_memory(
        self, name: str, memory_bytes: int, check: Check | None, wanted: Wanted | None = None
    ) -> PooledSandbox | None:
        """Makes room by removing what no build has; returns a ``wanted`` one instead if it became ready meanwhile.

        Without a ``check`` it leaves one that is ready if there is memory for both, and raises NoMemoryError instead
        of waiting for more.
        """
        if not memory_bytes or self.memory.enter(name, memory_bytes, for_build=check is not None):
            return None
        with self.memory.waiting() if check else nullcontext():
            while not self.memory.enter(name, memory_bytes, for_build=check is not None):
                if check and wanted and (ready := self._ready_one(wanted)):
                    return ready
                if self._give_memory_back(leave=0 if check else self._kept_ready(memory_bytes)):
                    continue
                if check is None:
                    raise NoMemoryError
                check()  # what is not a build has it, and ends soon
                time.sleep(_MEMORY_WAIT_SECONDS)
        return None

    def _kept_ready(self, memory_bytes: int) -> int:
        with self._lock:
            last = self._ready[-1:]
        held = sum(self._makers(pooled.wanted.size).memory_bytes for pooled in last)
        return 0 if held + memory_bytes > self.memory.limit_bytes else 1

    def _give_memory_back(self, leave: int) -> bool:
        """Removes a sandbox that no build has, but leaves so many that are ready; False if there is none."""
        with self._lock:
            others = self._used or self._ready
            pooled = others.pop(0) if self._used or len(self._ready) > leave else None
        if pooled is None:
            return False
        self._try_to_remove(pooled)
        return True

    def _try_to_remove(self, pooled: PooledSandbox) -> None:
        """If it cannot be removed, it is the janitor's, and no fault of the build that waits."""
        try:
            self._remove(pooled)
        except NodeError as error:
            logger().warning("sandbox_not_removed", attempt=pooled.name, reason=error.message)

    def _make(self, name: str, wanted: Wanted, *, for_build: bool = True, ready: bool = False) -> PooledSandbox:
        """One that is used now, or with ``ready`` one that waits for a build."""
        with self._lock:
            self._names.add(name)
        makers = self._makers(wanted.size)
        try:
            with ExitStack() as resources:
                workspace = resources.enter_context(makers.workspaces.make(name))
                network = resources.enter_context(self._network(wanted.image, for_build=for_build, ready=ready))
                steps = STEPS_AHEAD if ready else 0
                made = makers.sandboxes.make(wanted.image, name, workspace, {}, steps_ahead=steps, network=network)
                sandbox = resources.enter_context(made)
                return PooledSandbox(name, wanted, workspace, sandbox, resources.pop_all(), network)
        except BaseException:
            self._forget(name)
            raise

    def _network(self, image: str, *, for_build: bool, ready: bool) -> AbstractContextManager[str]:
        """The network mode of the next sandbox of this image; that of a used one which is removed for it, if need be.

        What is not for a build is cut off later, and has its own.
        """
        if self.pauses is None or not for_build:
            return nullcontext("")
        if not self.pauses.has_spare(image):
            with self._lock:
                used = next((pooled for pooled in self._used if pooled.network and pooled.image == image), None)
                if used is not None:
                    self._used.remove(used)
            if used is not None:
                self._try_to_remove(used)
        return self.pauses.lend(image, only_spare=not ready)

    def _remove(self, pooled: PooledSandbox) -> None:
        try:
            pooled.resources.close()
        except BaseException:
            self.memory.leave_behind(pooled.name)
            self._disown(pooled.name)
            raise
        self._forget(pooled.name)

    def _remove_ready(self, unwanted: Callable[[PooledSandbox], bool]) -> None:
        with self._lock:
            gone = [pooled for pooled in self._ready if unwanted(pooled)]
            self._ready[:] = [pooled for pooled in self._ready if pooled not in gone]
            self._used.extend(gone)  # if one cannot be removed, the others are still to go
        if gone:
            self.remove_used()

    def _forget(self, name: str) -> None:
        self.memory.leave(name)
        self._disown(name)

    def _disown(self, name: str) -> None:
        """It has no owner now; the janitor removes any leftovers."""
        with self._lock:
            self._names.discard(name)


def shares(demand: Sequence[_T], usual: _T, others: Collection[_T], room: int) -> Counter[_T]:
    """How many sandboxes of each kind wait, out of what the newest builds needed: the highest averages win.

    Builds on what is no longer in use count for the ``usual``, which also gets what nothing else asks for.
    """
    known = [each if each in others else usual for each in demand]
    asked, given = Counter(known), Counter[_T]()
    asked[usual] += not asked[usual]
    for _ in range(room):
        given[max(asked, key=lambda each: (asked[each] / (given[each] + 1), each == usual))] += 1
    return given


def _beyond(wanted: Mapping[Wanted, int]) -> Callable[[PooledSandbox], bool]:
    """Whether a sandbox is one more of its kind than is wanted; to be asked of each once."""
    left = Counter(wanted)

    def is_beyond(pooled: PooledSandbox) -> bool:
        left[pooled.wanted] -= 1
        return left[pooled.wanted] < 0

    return is_beyond

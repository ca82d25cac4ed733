"""The state of a running attempt: phases, timings, log, lease renewal and stop signal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from buildfarm.errors import BuildfarmError, Cancelled, DeadlineError, Interruption, LeaseLost, NodeError, StoreError
from buildfarm.model import Phase
from buildfarm.telemetry import Logger
from workers.attempt.log import BuildLog

_T = TypeVar("_T")

_STUCK_SECONDS = 90.0  # longer than any call to the engine or the registry may take
_LOG_SECONDS = 0.2
_TOGETHER_SECONDS = 0.05  # phases that follow one another this fast are reported by one renewal
_TOLD = (Phase.PREPARE, Phase.PUBLISH)  # the claim and the publication themselves say so in the record
_SENDING = (Phase.EXPORT, Phase.PUBLISH)  # what takes long here is the farm, not the app


@dataclass(frozen=True)
class Times:
    """How long things of an attempt may take, in seconds."""

    renew: float  # between two renewals of the lease
    build: float  # the whole attempt
    outage: float  # Redis or the registry may be away for this long


class Attempt:
    """One attempt at a build. A context manager: inside, threads renew the lease with ``renew`` and send the log.

    An attempt goes on while Redis is unreachable: its writes carry its number and are refused when another attempt
    has begun meanwhile. It is lost when a renewal says so, or after `Times.outage` without an answer.
    """

    def __init__(
        self,
        renew: Callable[[Phase], None],
        log: BuildLog,
        *,
        times: Times,
        observe: Callable[[Phase, float], None],
        logger: Logger,
    ) -> None:
        self.log = log
        self.seconds: dict[Phase, float] = {}
        self.current = Phase.PREPARE
        self._renew = renew
        self._times = times
        self._observe = observe
        self._logger = logger
        self._deadline = time.monotonic() + times.build
        self._stop_reason: BuildfarmError | None = None
        self._decided = False
        self._released = False
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="lease", daemon=True)
        # A thread costs a fifth of a millisecond, so this one starts with the first line.
        self._sender = threading.Thread(target=self._send_log, name="log", daemon=True)
        self._starting = threading.Lock()

    def __enter__(self) -> Self:
        self._keeper.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._wake.set()
        self.log.more.set()
        self._keeper.join()
        with self._starting:
            if self._sender.ident is not None:
                self._sender.join()

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Enters a phase for the length of the block, and takes its time. Raises what `check` does."""
        self.check()
        self.current = phase
        self.log.enter(phase)
        if phase not in _TOLD:
            self.look()
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = time.monotonic() - started
            self._observe(phase, self.seconds[phase])
        self.check()

    def write(self, piece: bytes) -> None:
        """Takes output of the build for its log."""
        self.log.write(piece)
        if self._sender.ident is None:
            with self._starting:
                if self._sender.ident is None and not self._ended.is_set():
                    self._sender.start()

    def say(self, sentence: str, warning: str = "") -> None:
        """A line of the farm's own in the build's log, and a warning below it if there is one."""
        self.write(f"-----> {sentence}\n".encode())
        if warning:
            self.write(f" !     {warning}\n".encode())

    def check(self) -> None:
        """Raises what ends the attempt: Cancelled, LeaseLost, DeadlineError, NodeError, or the reason of `stop`.

        It makes no request, so it can be called at any time.
        """
        if self._stop_reason is not None and not self._too_late(self._stop_reason):
            raise self._stop_reason
        if time.monotonic() > self._limit:
            if self._released:
                raise NodeError("The time for what follows a build was over.")
            if self.current in _SENDING:
                raise NodeError("The image could not be sent in time.")
            raise DeadlineError(
                f"The build took longer than {self._times.build:.0f} s.",
                advice="Its log shows what takes the time.",
            )

    @property
    def stuck(self) -> bool:
        """Whether it runs on long after it should have ended; nothing but the end of the process helps."""
        return time.monotonic() > self._limit + _STUCK_SECONDS

    def stop(self, reason: BuildfarmError) -> None:
        """Ends the attempt at its next `check`."""
        if self._stop_reason is None or self._too_late(self._stop_reason):
            self._stop_reason = reason

    def decide(self) -> None:
        """The build succeeds from here on: it is too late to cancel it."""
        self._decided = True

    def release(self) -> None:
        """The record is written: there is no lease to renew or to lose. Deadline and drain still end what follows."""
        self._released = True
        self._wake.set()

    def look(self) -> None:
        """Renews the lease now: there is something new to report or to receive."""
        self._wake.set()

    def persist(self, action: Callable[[], _T]) -> _T:
        """Does what must not be lost: retries while Redis is unreachable, as long as the lease may be ours.

        Raises LeaseLost, Cancelled, StoreError after the longest outage, and what else ``action`` raises.
        """
        until = time.monotonic() + self._times.outage
        while True:
            try:
                return action()
            except StoreError:
                if isinstance(self._stop_reason, LeaseLost):
                    raise self._stop_reason from None
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def end_log(self, *, soon: bool = False) -> None:
        """Sends the rest of the log, or with ``soon`` only its end. Raises what `persist` does."""
        if soon:
            self.log.skip()

        def send() -> None:
            if not self.log.flush(now=True):
                raise StoreError("The end of the log could not be sent.")

        self.persist(send)

    def _too_late(self, reason: BuildfarmError) -> bool:
        """Whether it no longer ends the attempt."""
        return (self._decided and isinstance(reason, Cancelled)) or (
            self._released and isinstance(reason, Interruption)
        )

    @property
    def _limit(self) -> float:
        return self._deadline + (self._times.outage if self.current in _SENDING else 0)

    def _keep(self) -> None:
        renewed_at = time.monotonic()  # the claim was the first time
        while self._wait_to_renew():
            if self.stuck:
                # Without renewals the lease ends, and another node takes the build.
                return self.stop(LeaseLost("The attempt did not end at its deadline."))
            try:
                self._renew(self.current)
                renewed_at = time.monotonic()
            except Interruption as reason:
                return self.stop(reason)
            except StoreError as error:
                self._logger.warning("lease_not_renewed", reason=error.message)
                if time.monotonic() - renewed_at > self._times.outage:
                    return self.stop(LeaseLost("The lease could not be renewed in time: Redis was unreachable."))
        return None

    def _wait_to_renew(self) -> bool:
        """Until the next renewal; False if there is none to come."""
        self._wake.wait(self._times.renew)
        self._ended.wait(_TOGETHER_SECONDS)
        self._wake.clear()
        return not (self._ended.is_set() or self._released)

    def _send_log(self) -> None:
        while not self._ended.is_set():
            self.log.more.wait(_LOG_SECONDS)
            try:
                if not self.log.flush():
                    time.sleep(_LOG_SECONDS)
            except Interruption as reason:
                return self.stop(reason)
        return None

"""How far an attempt is: its phases and their times, its log, its lease kept alive, and the word to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from buildfarm.errors import BuildfarmError, DeadlineError, Interruption, LeaseLost, StoreError
from buildfarm.model import Phase
from buildfarm.telemetry import Logger
from workers.log import BuildLog


class Progress:
    """One attempt at a build. A context manager: inside, a thread renews the lease with ``renew``.

    An attempt that could not renew for ``lease_seconds`` counts itself as lost, by its own clock and before the farm
    does: Redis may be away, and another node may be at work already.
    """

    def __init__(
        self,
        renew: Callable[[Phase], None],
        log: BuildLog,
        *,
        lease_seconds: float,
        renew_seconds: float,
        build_seconds: float,
        observe: Callable[[Phase, float], None],
        logger: Logger,
    ) -> None:
        self.log = log
        self.seconds: dict[Phase, float] = {}
        self.current = Phase.PREPARE
        self._renew = renew
        self._lease_seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._build_seconds = build_seconds
        self._observe = observe
        self._logger = logger
        self._deadline = time.monotonic() + build_seconds
        self._stop_reason: BuildfarmError | None = None
        self._wake = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended = True
        self._wake.set()
        self._thread.join()

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Enters a phase for the length of the block, and takes its time. Raises what `check` does."""
        self.check()
        self.current = phase
        self.log.enter(phase)
        self._wake.set()
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

    def say(self, sentence: str) -> None:
        """A line of the farm's own in the build's log."""
        self.log.write(f"-----> {sentence}\n".encode())

    def check(self) -> None:
        """Raises what ends the attempt: Cancelled, LeaseLost, DeadlineError, or the reason given to `stop`."""
        if self._stop_reason is not None:
            raise self._stop_reason
        if time.monotonic() > self._deadline:
            raise DeadlineError(
                f"The build took longer than {self._build_seconds:.0f} s.",
                advice="See in its log what takes the time.",
            )
        self.log.flush()

    def stop(self, reason: BuildfarmError) -> None:
        """Ends the attempt at its next `check`."""
        self._stop_reason = self._stop_reason or reason

    def persist(self, write: Callable[[], None]) -> None:
        """Makes a write that must not be lost: tries again while Redis is away, as long as the lease is ours.

        Raises LeaseLost, Cancelled, and what else ``write`` raises.
        """
        while True:
            try:
                return write()
            except StoreError:
                if isinstance(self._stop_reason, LeaseLost):
                    raise self._stop_reason from None
                self._wake.wait(0.5)

    def _keep(self) -> None:
        renewed_at = time.monotonic()
        while not self._ended:
            self._wake.clear()
            try:
                self._renew(self.current)
                renewed_at = time.monotonic()
            except Interruption as reason:
                return self.stop(reason)
            except StoreError as error:
                self._logger.warning("lease_not_renewed", reason=error.message)
                if time.monotonic() - renewed_at > self._lease_seconds:
                    return self.stop(LeaseLost("The lease could not be renewed in time: Redis was away."))
            self._wake.wait(self._renew_seconds)
        return None

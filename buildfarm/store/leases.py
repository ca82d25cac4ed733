"""Who may work on a build: claims, renewals, and the writes that only the holder of the lease may make."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from buildfarm.errors import Cancelled, LeaseLost, VersionError
from buildfarm.model import Build, BuildResult, Failure, Fault, Phase, State
from buildfarm.store.admission import EXPIRED, Admission
from buildfarm.store.database import Database
from buildfarm.store.records import decode

# A build that the farm keeps handing back is not handed on for ever: from here on every attempt counts.
_SPARED_MAX = 10
# A build that this process cannot read waits for a newer node. 240 times 15 s are an hour: longer than an upgrade.
_UNREADABLE_SPARED_MAX = 240
_UNREADABLE_WAIT_SECONDS = 15.0

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Lease:
    """The right to work on a build. Its attempt number is the fencing token of every write."""

    build_id: str
    attempt: int
    build: Build | None = field(default=None, compare=False, repr=False)  # as it was when it was claimed


@dataclass(frozen=True)
class Unclaimed:
    """Why a message woke a node up for nothing: the build's state, ``unknown``, ``expired`` or ``unreadable``."""

    reason: str


@dataclass(frozen=True)
class Leases:
    """Leases on builds, by Redis's own clock. Every method raises StoreError where Redis cannot be reached."""

    admission: Admission
    lease_seconds: float
    attempts_max: int

    @property
    def database(self) -> Database:
        """Where they are kept."""
        return self.admission.database

    def claim(self, build_id: str, node: str) -> Lease | Unclaimed:
        """The lease on a queued build: on this one, or on the newer build that took its place.

        A build whose record only a newer version of the farm can read is given back, and waits for another node. That
        attempt does not count, within a bound.
        """
        attempt, told = self.admission.change("claim", build_id, node, self.lease_seconds, EXPIRED)
        if not attempt:
            return Unclaimed(told)
        fields = dict(zip(told[::2], told[1::2], strict=True))
        lease = Lease(fields["id"], attempt)
        try:
            return replace(lease, build=decode(fields))
        except VersionError as error:
            self._give_back_unread(lease, error)
            return Unclaimed(UNREADABLE)

    def renew(self, lease: Lease, phase: Phase | None = None) -> None:
        """Keeps the lease, and enters a phase. Raises Cancelled or LeaseLost."""
        keys = [self._build(lease.build_id), self.database.key("leases")]
        answer = self.database.run("renew", keys, lease.build_id, lease.attempt, self.lease_seconds, phase or "")
        if answer != "held":
            _refuse(answer, lease)

    def publish(self, lease: Lease, repository: str, digest: str) -> None:
        """Enters the phase publish and names the image the tag is to point at. Raises Cancelled or LeaseLost."""
        key = self.database.key
        keys = [self._build(lease.build_id), key("tags"), key("leases")]
        answer = self.database.run(
            "publish", keys, lease.build_id, lease.attempt, repository, digest, self.lease_seconds
        )
        if answer != "held":
            _refuse(answer, lease)

    def succeed(self, lease: Lease, result: BuildResult, *, input_digest: str = "") -> None:
        """The build succeeded; requests of the same input may be answered with its image. Raises LeaseLost."""
        self._finish(lease, State.SUCCEEDED, "result", result.model_dump_json(), input_digest)

    def fail(self, lease: Lease, failure: Failure) -> None:
        """The build failed for good. Raises LeaseLost."""
        self._finish(lease, State.FAILED, "failure", failure.model_dump_json())

    def cancel(self, lease: Lease) -> State:
        """The build has ended because its owner asked for it, or a newer build did. Raises LeaseLost."""
        return self._finish(lease, State.CANCELLED, "", "")

    def give_back(self, lease: Lease, failure: Failure, *, counts: bool = True, wait_seconds: float = 0) -> str:
        """Ends an attempt that failed by the farm's fault; answers with the build's state, or ``stale``.

        One that does not count leaves the build as many attempts as before, within a bound. A build that waits for its
        next attempt is sent no message now: `send_due` does it when the time has come.
        """
        spared_max = 0 if counts else _SPARED_MAX
        return self._release(
            lease.build_id, str(lease.attempt), failure, spared_max=spared_max, wait_seconds=wait_seconds
        )

    def send_due(self, limit: int) -> int:
        """Sends the messages of builds whose wait for another attempt is over; returns how many there were."""
        return int(self.admission.change("due", limit))

    def waiting_count(self) -> int:
        """How many builds wait for another attempt."""
        with self.database.failures():
            return int(self.database.client.zcard(self.database.key("retries")))

    def expired(self, limit: int) -> list[str]:
        """Builds whose holder has not renewed in time."""
        with self.database.failures():
            seconds, micros = self.database.client.time()
            ids: Any = self.database.client.zrange(
                self.database.key("leases"), "-inf", seconds + micros / 1e6, byscore=True, offset=0, num=limit
            )
        return list(ids)

    def take_back(self, build_id: str, failure: Failure) -> str:
        """Ends whichever attempt has let its lease end; answers as ``give_back`` does."""
        return self._release(build_id, "", failure, spared_max=0, wait_seconds=0)

    def _give_back_unread(self, lease: Lease, error: VersionError) -> None:
        failure = Failure(code=error.code, fault=Fault.FARM, phase=None, message=error.message, advice=error.advice)
        self._release(
            lease.build_id,
            str(lease.attempt),
            failure,
            spared_max=_UNREADABLE_SPARED_MAX,
            wait_seconds=_UNREADABLE_WAIT_SECONDS,
        )

    def _release(self, build_id: str, attempt: str, failure: Failure, *, spared_max: int, wait_seconds: float) -> str:
        content = failure.model_dump_json()
        change = self.admission.change
        return str(change("release", build_id, attempt, self.attempts_max, content, spared_max, wait_seconds))

    def _finish(self, lease: Lease, state: State, name: str, content: str, input_digest: str = "") -> State:
        change = self.admission.change
        ended = change("finish", lease.build_id, lease.attempt, state, name, content, input_digest)
        if not ended:
            _refuse("lost", lease)
        return State(ended)

    def _build(self, build_id: str) -> str:
        return self.database.key("build", build_id)


def _refuse(answer: str, lease: Lease) -> NoReturn:
    if answer == "cancelled":
        raise Cancelled(f"Build {lease.build_id} was cancelled by its owner.")
    raise LeaseLost(f"Attempt {lease.attempt} of build {lease.build_id} is not the newest any more.")

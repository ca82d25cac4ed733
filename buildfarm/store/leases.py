"""Who may work on a build: claims, renewals, and the writes that only the holder of the lease may make."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from buildfarm.errors import Cancelled, LeaseLost, StoreError, VersionError
from buildfarm.model import Build, BuildResult, Failure, Fault, Phase, State
from buildfarm.store.admission import EXPIRED, NO_BASE, Admission
from buildfarm.store.database import Database
from buildfarm.store.records import decode

# A build that the farm keeps handing back is not handed on for ever: from here on every attempt counts.
_SPARED_MAX = 10
# A build that this process cannot read waits for a newer node. 240 times 15 s are an hour: longer than an upgrade.
_UNREADABLE_SPARED_MAX = 240
_UNREADABLE_WAIT_SECONDS = 15.0
_RETRY_SECONDS_MAX = 60  # the longest wait for another attempt
_SWEEP_GAP_SECONDS_MIN = 2.0  # sweeps are a second apart: a shorter gap would be seen at each of them
_UNCONFIRMED_WAIT_SECONDS = 2.0

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Lease:
    """The right to work on a build. Every write presents its attempt and its token, which no other claim has."""

    build_id: str
    attempt: int
    token: str = field(default="", repr=False)  # empty: claimed by a node of an older version
    build: Build | None = field(default=None, compare=False, repr=False)  # as it was when it was claimed
    is_last_node: bool | None = field(default=None, compare=False)  # whether it built the app last; None: none did

    @property
    def fence(self) -> str:
        """What the scripts compare with the record (`scripts/_fence.lua`)."""
        return f"{self.attempt} {self.token}".rstrip()

    def refuse(self, answer: str) -> NoReturn:
        """Raise what a script's answer means: Cancelled or LeaseLost."""
        _refuse(answer, self)


@dataclass(frozen=True)
class Unclaimed:
    """Why a message woke a node up for nothing: the build's state, ``unknown``, ``expired`` or ``unreadable``.

    ``size``: the build has another size than its message's queue, and a separate message. ``base``: the node lacks the
    base that the build is to stand on, and all nodes are asked again.
    """

    reason: str
    offered: str = ""  # the build that another node is offered first; to be claimed again a little later


@dataclass(frozen=True)
class Leases:
    """Leases on builds, by Redis's own clock. Every method raises StoreError where Redis cannot be reached."""

    admission: Admission
    lease_seconds: float
    attempts_max: int
    renew_seconds: float = 2.0

    @property
    def database(self) -> Database:
        """Where they are kept."""
        return self.admission.database

    def claim(
        self, build_id: str, node: str, token: str = "", *, offer: bool = False, bases: str = "", size: str = ""
    ) -> Lease | Unclaimed:
        """The lease on a queued build: on this one, or on the newer build that took its place.

        The same ``token`` gets the same lease again, should the first answer have been lost; the default is a new one.
        A claim that too few replicas of Redis have is given back: a failover could give the build to another node too.
        So is a build whose record only a newer version of the farm can read. Neither counts, within a bound.
        With ``offer``, a build whose app another node built last may be offered to that node instead. ``bases`` are
        those that the node has, as `scripts/claim.lua` reads them: the build's record names one of them. Only a build
        of the ``size`` that the node has room for is claimed; empty: of any.
        """
        token = token or secrets.token_hex(16)  # chosen here: the connection repeats a call that got no answer
        answer, confirmed = self.admission.change_confirmed(
            "claim", build_id, node, self.lease_seconds, EXPIRED, token, "1" if offer else "", bases, NO_BASE, size
        )
        attempt, told, *more = answer
        if not attempt:
            return Unclaimed(told, *more)
        fields = dict(zip(told[::2], told[1::2], strict=True))
        [last] = more
        lease = Lease(fields["id"], attempt, token, is_last_node=last == node if last else None)
        try:
            lease = replace(lease, build=decode(fields))
        except VersionError as error:
            self._give_back_unread(lease, error)
            return Unclaimed(UNREADABLE)
        if not confirmed:
            # However often: no attempt was made.
            self._release(
                lease.build_id, lease.fence, _UNCONFIRMED, spared_max=attempt, wait_seconds=_UNCONFIRMED_WAIT_SECONDS
            )
            return Unclaimed("unconfirmed")
        return lease

    def waits(self, build_id: str) -> bool:
        """Whether nobody has claimed a queued build yet."""
        with self.database.failures():
            return bool(self.database.client.hget(self._build(build_id), "state") == State.QUEUED)

    def renew(self, lease: Lease, phase: Phase | None = None) -> None:
        """Keeps the lease, and enters a phase. Raises Cancelled or LeaseLost."""
        keys = [self._build(lease.build_id), self.database.key("leases")]
        answer = self.database.run("renew", keys, lease.build_id, lease.fence, self.lease_seconds, phase or "")
        if answer != "held":
            _refuse(answer, lease)

    def publish(self, lease: Lease, target: str, result: BuildResult) -> None:
        """Decides that the build succeeds with this result: enters the phase publish, and names the tag's new image.

        From here on it cannot be cancelled, and any node that ends it uses this result. Raises Cancelled, LeaseLost.
        """
        key = self.database.key
        keys = [self._build(lease.build_id), key("tags"), key("leases")]
        content = result.model_dump_json()
        answer = self.database.run(
            "publish", keys, lease.build_id, lease.fence, target, result.digest, self.lease_seconds, content
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
        """The build has ended because its owner asked for it, or a newer build did. Raises LeaseLost.

        Answers with its state, which is succeeded if its result was published before.
        """
        return self._finish(lease, State.CANCELLED, "", "")

    def give_back(self, lease: Lease, failure: Failure, *, counts: bool = True, wait_seconds: float = 0) -> str:
        """Ends an attempt that failed by the farm's fault; answers with the build's state, or ``stale``.

        One that does not count leaves the build as many attempts as before, within a bound. A build that waits for its
        next attempt is sent no message now: `send_due` does it when the time has come.
        """
        spared_max = 0 if counts else _SPARED_MAX
        return self._release(lease.build_id, lease.fence, failure, spared_max=spared_max, wait_seconds=wait_seconds)

    def send_due(self, limit: int) -> int:
        """Sends the messages of builds whose wait for another attempt is over; returns how many there were."""
        return int(self.admission.change("due", limit))

    def waiting_count(self) -> int:
        """How many builds wait for another attempt."""
        with self.database.failures():
            return int(self.database.client.zcard(self.database.key("retries")))

    def sweep(self) -> str:
        """Notes that a sweeper looks at the leases: ``clear``, or in ``doubt``, which now ``begins``.

        In doubt `take_back` takes nothing back, for one lease's length: after a gap in sweeping, on another process of
        Redis and after a step of its clock holders may not have been able to renew.
        """
        keys = [self.database.key(name) for name in ("swept", "leases", "queued", "retries")]
        return str(self.database.run("sweep", keys, self._gap_seconds, self.lease_seconds, _RETRY_SECONDS_MAX))

    def expired(self, limit: int) -> list[str]:
        """Builds whose holder has not renewed in time."""
        with self.database.failures():
            seconds, micros = self.database.client.time()
            ids: Any = self.database.client.zrange(
                self.database.key("leases"), "-inf", seconds + micros / 1e6, byscore=True, offset=0, num=limit
            )
        return list(ids)

    def take_back(self, build_id: str, failure: Failure) -> str:
        """Ends whichever attempt has let its lease end; answers as ``give_back`` does, in doubt with ``stale``."""
        return self._release(build_id, "", failure, spared_max=0, wait_seconds=0)

    @property
    def _gap_seconds(self) -> float:
        """How far apart two sweeps may be: with a longer gap a lease may have ended before its holder could renew."""
        return max(self.lease_seconds - self.renew_seconds, _SWEEP_GAP_SECONDS_MIN)

    def _give_back_unread(self, lease: Lease, error: VersionError) -> None:
        failure = Failure(code=error.code, fault=Fault.FARM, phase=None, message=error.message, advice=error.advice)
        self._release(
            lease.build_id,
            lease.fence,
            failure,
            spared_max=_UNREADABLE_SPARED_MAX,
            wait_seconds=_UNREADABLE_WAIT_SECONDS,
        )

    def _release(self, build_id: str, fence: str, failure: Failure, *, spared_max: int, wait_seconds: float) -> str:
        answer = self.admission.change(
            "release", build_id, fence, self.attempts_max, failure.model_dump_json(), spared_max, wait_seconds,
            self._gap_seconds, self.lease_seconds,
        )  # fmt: skip
        return str(answer)

    def _finish(self, lease: Lease, state: State, name: str, content: str, input_digest: str = "") -> State:
        change = self.admission.change
        ended = change("finish", lease.build_id, lease.fence, state, name, content, input_digest)
        if not ended:
            _refuse("lost", lease)
        return State(ended)

    def _build(self, build_id: str) -> str:
        return self.database.key("build", build_id)


_TOO_FEW = StoreError("Too few replicas of Redis had the claim in time.")
_UNCONFIRMED = Failure(
    code=_TOO_FEW.code, fault=Fault.FARM, phase=None, message=_TOO_FEW.message, advice=_TOO_FEW.advice
)


def _refuse(answer: str, lease: Lease) -> NoReturn:
    if answer == "cancelled":
        raise Cancelled(f"Build {lease.build_id} was cancelled by its owner.")
    raise LeaseLost(f"Attempt {lease.attempt} of build {lease.build_id} is no longer the newest.")

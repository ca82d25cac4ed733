"""Who may work on a build: claims, renewals, and the writes that only the holder of the lease may make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from buildfarm.errors import Cancelled, LeaseLost
from buildfarm.model import BuildResult, Failure, Phase, State
from buildfarm.store.database import EVENTS_MAX, Database


@dataclass(frozen=True)
class Lease:
    """The right to work on a build. Its attempt number is the fencing token of every write."""

    build_id: str
    attempt: int


@dataclass(frozen=True)
class Leases:
    """Leases on builds, by Redis's own clock. Every method raises StoreError where Redis cannot be reached."""

    database: Database
    lease_seconds: float
    attempts_max: int
    record_seconds: float

    def claim(self, build_id: str, node: str) -> Lease | None:
        """The lease on a queued build, or None where there is nothing to claim: taken, finished, cancelled, unknown."""
        key = self.database.key
        keys = [self._build(build_id), key("queued"), key("leases"), key("events")]
        attempt = int(self.database.run("claim", keys, build_id, node, self.lease_seconds, EVENTS_MAX))
        return Lease(build_id, attempt) if attempt else None

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

    def succeed(self, lease: Lease, result: BuildResult) -> None:
        """The build succeeded. Raises LeaseLost."""
        self._finish(lease, State.SUCCEEDED, "result", result.model_dump_json())

    def fail(self, lease: Lease, failure: Failure) -> None:
        """The build failed for good. Raises LeaseLost."""
        self._finish(lease, State.FAILED, "failure", failure.model_dump_json())

    def cancel(self, lease: Lease) -> None:
        """The build has ended because its owner asked for it. Raises LeaseLost."""
        self._finish(lease, State.CANCELLED, "", "")

    def give_back(self, lease: Lease, failure: Failure) -> str:
        """Ends an attempt that failed by the farm's fault: ``queued`` again, ``failed``, ``cancelled`` or ``stale``."""
        return self._release(lease.build_id, str(lease.attempt), failure)

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
        return self._release(build_id, "", failure)

    def _release(self, build_id: str, attempt: str, failure: Failure) -> str:
        key = self.database.key
        keys = [self._build(build_id), key("leases"), key("queued"), key("events"), key("build", build_id, "log")]
        return str(
            self.database.run(
                "release", keys, build_id, attempt, self.attempts_max,
                failure.model_dump_json(), EVENTS_MAX, int(self.record_seconds),
            )
        )  # fmt: skip

    def _finish(self, lease: Lease, state: State, name: str, content: str) -> None:
        key = self.database.key
        keys = [self._build(lease.build_id), key("leases"), key("events"), key("build", lease.build_id, "log")]
        done = self.database.run(
            "finish", keys, lease.build_id, lease.attempt, state, name, content, EVENTS_MAX, int(self.record_seconds)
        )
        if not done:
            _refuse("lost", lease)

    def _build(self, build_id: str) -> str:
        return self.database.key("build", build_id)


def _refuse(answer: str, lease: Lease) -> NoReturn:
    if answer == "cancelled":
        raise Cancelled(f"Build {lease.build_id} was cancelled by its owner.")
    raise LeaseLost(f"Attempt {lease.attempt} of build {lease.build_id} is not the newest any more.")

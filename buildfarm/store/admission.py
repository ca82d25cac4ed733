"""Admission: state changes of builds and their consequences, and queue statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from buildfarm.errors import BuildfarmError, ClassRemovedError, ExpiredError, NoBaseError
from buildfarm.model import Build, Failure, Fault, State
from buildfarm.queue.names import kind_of, parts_of, size_of
from buildfarm.queue.view import Limits, QueuePosition, QueueRow, QueueView
from buildfarm.queue.why import Standing
from buildfarm.store.admission_policy import LOOK_BACK_MINUTES, AdmissionPolicy
from buildfarm.store.database import Database

LIMIT_MAX = 100_000


_CLASS_REMOVED_SECONDS = 600.0  # the settings of all processes may take that long to change


def _ended(error: BuildfarmError) -> str:
    failure = Failure(code=error.code, fault=Fault.FARM, phase=None, message=error.message, advice=error.advice)
    return failure.model_dump_json()


EXPIRED = _ended(ExpiredError("The build waited longer than its request allowed."))
NO_BASE = _ended(NoBaseError("For 15 minutes no build node had the base that the build was to stand on."))
_CLASS_REMOVED = _ended(
    ClassRemovedError("The farm's operators removed the class or the size that the build waited in.")
)


@dataclass(frozen=True)
class Admission:
    """The limits of tenants and apps, and their builds' queue positions. All raise StoreError if Redis cannot be read.

    A build's message is written in the step that queues it. One that is lost on its way is sent again by a sweeper.
    """

    database: Database
    terms: AdmissionPolicy

    def overdue(self, seconds: float, limit: int, *, first: bool) -> list[str]:
        """As `Records.send_overdue` says."""
        return list(self.change("overdue", seconds, limit, "retry" if first else ""))

    @cached_property
    def encoded_terms(self) -> str:
        """As the scripts read them."""
        return self.terms.encode()

    def change(self, script: str, *args: str | float) -> Any:
        """Runs a script that changes builds' states as one atomic step, messages of what it queues included."""
        return self.database.run(script, [self.database.namespace], self.encoded_terms, *args)

    def change_confirmed(self, script: str, *args: str | float) -> tuple[Any, bool]:
        """As `change`; the flag is whether enough replicas of Redis have it (see `Database.run_confirmed`)."""
        return self.database.run_confirmed(script, [self.database.namespace], self.encoded_terms, *args)

    def expire(self, limit: int) -> list[str]:
        """Fails waiting builds whose time is up, and returns their ids."""
        return list(self.change("expire", EXPIRED, limit))

    def fail_of_removed_classes(self, limit: int, *, seconds: float = _CLASS_REMOVED_SECONDS) -> list[str]:
        """Fail builds that wait in a class which is no longer in the settings, and return their ids.

        Args:
            limit: how many builds at most, so that a call stays short.
            seconds: for how long no sweeper has found the class in its settings.
        """
        return list(self.change("class_removed", seconds, _CLASS_REMOVED, limit))

    def limits(self, tenant: str, app: str | None = None) -> Limits:
        """The limits in force for a tenant, and for this app of it."""
        names = [f"{tenant}:running", f"{tenant}:waiting", f"{tenant}/{app}:running", f"{tenant}:bytes"]
        with self.database.failures():
            found: Any = self.database.client.hmget(self.database.key("limits"), names)
        otherwise = self.terms.limits
        return Limits(
            tenant_running=int(found[0] or otherwise.tenant_running),
            tenant_waiting=int(found[1] or otherwise.tenant_waiting),
            app_running=int(found[2] or otherwise.app_running),
            tenant_bytes=int(found[3] or otherwise.tenant_bytes),
        )

    def limits_set(self) -> dict[str, int]:
        """Every limit that was set: "tenant:running", "tenant:waiting" and "tenant/app:running"."""
        with self.database.failures():
            found: Any = self.database.client.hgetall(self.database.key("limits"))
        return {name: int(value) for name, value in sorted(found.items())}

    def set_limits(self, tenant: str, app: str | None, values: dict[str, int | None]) -> None:
        """Sets what is named: "running" or "waiting"; None goes back to the settings. It takes effect at once."""
        owner = f"{tenant}/{app}" if app else tenant
        pairs = [part for name, value in values.items() for part in (f"{owner}:{name}", "" if value is None else value)]
        self.change("limits", tenant, app or "", *pairs)

    def queue_position(self, build: Build) -> QueuePosition | None:
        """Where a build stands in the queue; None if it does not wait. Its cost does not grow with the queue."""
        tenant, build_class = build.request.tenant, kind_of(build.build_class, size_of(build.request))
        key, buckets = self.database.key, self._buckets(self.database.now())
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            pipeline.zrank(key("waiting", build_class, tenant), build.id)
            pipeline.zcard(key("tenants", build_class))
            pipeline.hmget(key("class", build_class), ["held", "queued"])
            for bucket, _ in buckets:
                pipeline.hget(bucket, build_class)
            rank, tenants, waiting, *started = pipeline.execute()
        if rank is None:
            return None
        total = sum(int(number or 0) for number in waiting)
        # Tenants take turns: before its own turn number `rank` every other tenant had at most as many.
        position = max(min(total, (rank + 1) * tenants), 1)
        starts = sum(int(number or 0) for number in started)
        seconds = sum(seconds for _, seconds in buckets)
        return QueuePosition(position=position, wait_seconds=position * seconds / starts if starts else None)

    def standing(self, build: Build) -> Standing:
        """What decides whether a waiting build is queued: its tenant's and its app's builds, and their limits."""
        request, key = build.request, self.database.key
        fields = ["queued", "running", f"app:{request.app}", f"newest:{request.target}"]
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            pipeline.hmget(key("tenant", request.tenant), fields)
            pipeline.zscore(key("retries"), build.id)
            pipeline.hget(key("build", build.id), "lacks")
            (queued, running, own, newest), retry_at, lacks = pipeline.execute()
        limits = self.limits(request.tenant, request.app)
        return Standing(
            int(queued or 0) + int(running or 0), limits.tenant_running, int(own or 0), limits.app_running,
            next((earlier for earlier in (newest or "").split() if earlier != build.id), ""),
            retry_at - self.database.now() if retry_at else 0.0,
            lacks or "", int(running or 0),
        )  # fmt: skip

    def view(self, tenants_max: int = 20) -> QueueView:
        """How the queue stands: all classes, and of each the tenants whose builds wait longest."""
        now, key, kinds = self.database.now(), self.database.key, tuple(self.terms.classes)
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            for bucket, _ in self._buckets(now):
                pipeline.hgetall(bucket)
            for kind in kinds:
                pipeline.hmget(key("class", kind), _COUNTED)
                pipeline.zrange(key("tenants", kind), 0, max(tenants_max, 1) - 1, withscores=True)
            found = pipeline.execute()
        started = _added(found[: -2 * len(kinds)])
        states = found[-2 * len(kinds) :]
        waiting = dict(zip(kinds, states[1::2], strict=True))
        every = sum(number for field, number in started.items() if " " not in field)
        classes = [
            QueueRow(
                **_named(kind, waiting[kind][0][1] if waiting[kind] else None, now),
                **_started(started.get(kind, 0), every),
                **_counts(counts),
            )
            for kind, counts in zip(kinds, states[::2], strict=True)
        ]
        tenants = self._tenant_rows(waiting, started, now, tenants_max)
        return QueueView(minutes=LOOK_BACK_MINUTES, classes=tuple(classes), tenants=tuple(tenants))

    def retry_after_seconds(self, tenant: str, build_class: str) -> float:
        """When a tenant whose queue is full may expect room in it, by what it got in the last minutes."""
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            for bucket, _ in self._buckets(self.database.now()):
                pipeline.hget(bucket, f"{build_class} {tenant}")
            started = sum(int(number or 0) for number in pipeline.execute())
        return min(max(60.0 * LOOK_BACK_MINUTES / started if started else 60.0, 5.0), 600.0)

    def _tenant_rows(
        self, waiting: Mapping[str, list[tuple[str, float]]], started: Mapping[str, int], now: float, tenants_max: int
    ) -> list[QueueRow]:
        """Those that wait, longest first, and then those that only started builds lately."""
        named = []
        for kind, oldest in waiting.items():
            lately = sorted(field.split(" ")[1] for field in started if field.startswith(f"{kind} "))
            tenants = dict.fromkeys([*dict(oldest), *lately])
            named += [(kind, tenant) for tenant in list(tenants)[:tenants_max]]
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            for kind, tenant in named:
                pipeline.hmget(self.database.key("tenant", tenant), [f"{state}:{kind}" for state in _COUNTED])
            found = pipeline.execute() if named else []
        return [
            QueueRow(
                **_named(kind, dict(waiting[kind]).get(tenant), now),
                **_started(started.get(f"{kind} {tenant}", 0), started.get(kind, 0)),
                **_counts(counts),
                tenant=tenant,
            )
            for (kind, tenant), counts in zip(named, found, strict=True)
        ]

    def _buckets(self, now: float) -> Iterable[tuple[str, float]]:
        """Keys of the last minutes' starts, and how many seconds of each have passed."""
        minute, seconds = divmod(now, 60)
        numbers = range(int(minute), int(minute) - LOOK_BACK_MINUTES - 1, -1)
        return [
            (self.database.key("started", str(number)), seconds if number == int(minute) else 60.0)
            for number in numbers
        ]


_COUNTED = [State.HELD, State.QUEUED, State.RUNNING]


def _counts(numbers: list[str | None]) -> dict[str, int]:
    return {state: int(number or 0) for state, number in zip(_COUNTED, numbers, strict=True)}


def _started(own: int, every: int) -> dict[str, Any]:
    return {"started": own, "share": own / every if every else 0.0}


def _named(kind: str, oldest_at: float | None, now: float) -> dict[str, Any]:
    build_class, size = parts_of(kind)
    waited = None if oldest_at is None else now - oldest_at
    return {"build_class": build_class, "size": size, "oldest_seconds": waited}


def _added(minutes: Iterable[dict[str, str]]) -> dict[str, int]:
    """Starts of the last minutes, by class and by "class tenant"."""
    total: dict[str, int] = {}
    for fields in minutes:
        for field, number in fields.items():
            total[field] = total.get(field, 0) + int(number)
    return total

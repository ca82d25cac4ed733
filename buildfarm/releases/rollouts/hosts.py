"""Hosts that run apps: which bases they should have before an app moves, and which of them they report."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from buildfarm.errors import RequestError
from buildfarm.model import STABLE
from buildfarm.releases.channels.app_bases import AppBases
from buildfarm.releases.channels.pointers import Pointers
from buildfarm.releases.rollouts.outside import FarmParts
from buildfarm.releases.rollouts.rules.lead import NO_HOSTS, HostCount, lead_ends
from buildfarm.releases.rollouts.rules.states import Phase, Rollout
from buildfarm.releases.rollouts.store import Rollouts
from buildfarm.releases.rollouts.views import AnnouncedBase
from buildfarm.store.database import Database

REPORT_SECONDS = 900  # that a report counts; a host reports between two pulls, which take less
HOSTS_MAX = 10_000
HOST_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


@dataclass(frozen=True)
class Hosts:
    """Reports of hosts; each ends by itself. Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def report(self, host: str, has: Collection[str], lacks: Collection[str]) -> None:
        """Replaces what a host has of these bases. Raises RequestError if there are too many hosts."""
        index, now = self.database.key("hosts"), self.database.now()
        with self.database.failures():
            self.database.client.zremrangebyscore(index, "-inf", now)
            is_new = self.database.client.zscore(index, host) is None
            if is_new and int(self.database.client.zcard(index)) >= HOSTS_MAX:
                raise RequestError(
                    f"{HOSTS_MAX:,} hosts report already.", advice="Give each host one name, and keep it."
                )
            pipeline: Any = self.database.client.pipeline()
            pipeline.zadd(index, {host: now + REPORT_SECONDS})
            pipeline.expire(index, REPORT_SECONDS)
            for base in has:
                pipeline.zadd(self._having(base), {host: now + REPORT_SECONDS})
                pipeline.zremrangebyscore(self._having(base), "-inf", now)
                pipeline.expire(self._having(base), REPORT_SECONDS)
            for base in lacks:
                pipeline.zrem(self._having(base), host)
            pipeline.execute()

    def count(self, *bases: str) -> list[HostCount]:
        """How many hosts report, and how many of them have each base."""
        now = self.database.now()
        with self.database.failures():
            pipeline: Any = self.database.client.pipeline(transaction=False)
            for key in (self.database.key("hosts"), *map(self._having, bases)):
                pipeline.zcount(key, now, "+inf")
            known, *ready = pipeline.execute()
        return [HostCount(known, number) for number in ready]

    def awaited(self, rollout: Rollout, now: float) -> HostCount:
        """Those that a rollout waits for before its first app moves; nothing is read if it does not wait."""
        return self.count(rollout.base)[0] if rollout.phase.moves and now < lead_ends(rollout) else NO_HOSTS

    def _having(self, base: str) -> str:
        return self.database.key("hosts", base)


@dataclass
class _Wanted:
    """The announced bases, with why and when."""

    reasons: dict[str, list[str]]
    moves_at: dict[str, float]


def announced(farm: FarmParts) -> list[AnnouncedBase]:
    """The bases that hosts should have: first those that apps move to next."""
    return _views(farm, _wanted(farm))


def take_report(farm: FarmParts, host: str, bases: Collection[str]) -> list[AnnouncedBase]:
    """Replaces what a host has; bases that are not announced do not count. Raises RequestError."""
    if not re.fullmatch(HOST_PATTERN, host):
        raise RequestError(
            f"{host[:80]!r} cannot be the name of a host.",
            advice="Use up to 128 letters, digits, dots, dashes and low lines.",
        )
    wanted = _wanted(farm)
    names = wanted.reasons.keys()
    Hosts(farm.records.database).report(host, names & {*bases}, names - {*bases})
    return _views(farm, wanted)


def _wanted(farm: FarmParts) -> _Wanted:
    database, found = farm.records.database, _Wanted({}, {})
    unfinished = [one for one in Rollouts(database).all() if not one.phase.final]
    for rollout in unfinished:
        found.reasons.setdefault(rollout.base, []).append(f"rollout {rollout.id} moves apps to it")
        if rollout.phase in (Phase.PLANNED, Phase.CANARY):
            known = found.moves_at.get(rollout.base, float("inf"))
            found.moves_at[rollout.base] = min(lead_ends(rollout), known)
    for name, base in {STABLE: farm.builder(), **Pointers(database).all()}.items():
        found.reasons.setdefault(base, []).append(f"the channel {name} is on it")
    for rollout in unfinished:
        found.reasons.setdefault(rollout.source, []).append(f"an abort of rollout {rollout.id} brings apps back to it")
    for base in sorted(AppBases(database).moved()):
        found.reasons.setdefault(base, []).append("a rollout has moved apps to it")
    found.reasons.pop("", None)
    return found


def _views(farm: FarmParts, wanted: _Wanted) -> list[AnnouncedBase]:
    counts = Hosts(farm.records.database).count(*wanted.reasons)
    return [
        AnnouncedBase(
            base=base,
            image=f"{farm.registry.host}/{base}",
            reasons=tuple(why),
            moves_at=wanted.moves_at.get(base),
            hosts=count.known,
            ready=count.ready,
        )
        for (base, why), count in zip(wanted.reasons.items(), counts, strict=True)
    ]

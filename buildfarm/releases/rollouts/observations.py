"""What orchestrators report, and which apps people hold, in Redis."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from buildfarm.releases.rollouts.document import decode_health
from buildfarm.releases.rollouts.rules.reports import REPORT_SECONDS, AppHealth, HealthReport
from buildfarm.store.database import Database

_REPORTS_MAX = 200  # of an app, by image and reporter
_PAGE = 500


@dataclass(frozen=True)
class Observations:
    """Reports of apps' health. Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def put(self, digest: str, report: HealthReport) -> bool:
        """Keeps the report; False if one of this reporter was observed later, or it is there already."""
        app = f"{report.tenant}/{report.app}"
        keys = [self.database.key("health", app), self.database.key("health")]
        kept = report.model_dump_json(exclude={"tenant", "app", "observed_at", "reporter"})
        field, observed_at = f"{digest} {report.reporter}", f"{report.observed_at:.6f}"
        limits = (REPORT_SECONDS, _REPORTS_MAX)
        return bool(self.database.run("health", keys, field, observed_at, report.status.value, kept, *limits, app))

    def of(self, apps: Iterable[str]) -> dict[str, AppHealth]:
        """The reports about these apps that are there; they may be over."""
        names, found = list(apps), dict[str, AppHealth]()
        for start in range(0, len(names), _PAGE):
            page = names[start : start + _PAGE]
            with self.database.failures():
                pipeline: Any = self.database.client.pipeline(transaction=False)
                for name in page:
                    pipeline.hgetall(self.database.key("health", name))
                answers = pipeline.execute()
            found |= {name: decode_health(fields) for name, fields in zip(page, answers, strict=True)}
        return found

    def since(self, at: float) -> list[str]:
        """The apps of which a report came since then."""
        with self.database.failures():
            found: Any = self.database.client.zrangebyscore(self.database.key("health"), at, "+inf")
        return list(found)


@dataclass(frozen=True)
class Hold:
    """A person keeps an app on its base."""

    until: float
    reason: str
    actor: str
    by_tenant: bool = False  # who may end it, as the farm's operators may


@dataclass(frozen=True)
class Holds:
    """Likewise."""

    database: Database

    def put(self, app: str, hold: Hold | None) -> None:
        """Holds an app, or no longer. Holds that are over go."""
        key = self.database.key("holds")
        over = [name for name, kept in self._all().items() if kept.until <= self.database.now()]
        with self.database.failures():
            if names := [*over, *([] if hold else [app])]:
                self.database.client.hdel(key, *names)
            if hold:
                self.database.client.hset(key, app, json.dumps(vars(hold)))

    def active(self) -> Mapping[str, Hold]:
        """The holds that are not over."""
        now = self.database.now()
        return {app: hold for app, hold in self._all().items() if hold.until > now}

    def _all(self) -> dict[str, Hold]:
        with self.database.failures():
            found: Any = self.database.client.hgetall(self.database.key("holds"))
        return {app: Hold(**json.loads(text)) for app, text in found.items()}

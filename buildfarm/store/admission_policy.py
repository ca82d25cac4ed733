"""What the scripts need to know of the settings to admit builds."""

from __future__ import annotations

import json
from dataclasses import dataclass

from buildfarm.queue.names import farm_kinds, parts_of
from buildfarm.queue.view import Limits
from buildfarm.settings import Settings
from buildfarm.store.database import APP_INDEX_MAX, EVENTS_MAX, INDEX_MAX

LOOK_BACK_MINUTES = 5

_AHEAD = 4  # a tenant's queued builds of a class; the others are held, so that Celery's queues stay short
_KEY_SECONDS = 86_400
_STARTED_SECONDS = 60 * (LOOK_BACK_MINUTES + 2)


@dataclass(frozen=True)
class AdmissionPolicy:
    """What every script of admission receives: classes, limits if none were set, bounds of what is kept."""

    classes: dict[str, int]  # their weights; kinds are among them (buildfarm/queue/names.py)
    limits: Limits
    record_seconds: float
    message: str  # a build's message, with @id@, @queue@ and @tag@ where these belong
    records: int = 0  # of an app at most; 0: as many as there are
    apps_seconds: float = 400 * 86_400  # an app stays in lists for so long after its newest submit

    @classmethod
    def of(cls, settings: Settings, message: str) -> AdmissionPolicy:
        """The terms of these settings."""
        limits = Limits(
            tenant_running=settings.tenant_running_max,
            tenant_waiting=settings.tenant_waiting_max,
            app_running=settings.app_running_max,
            tenant_bytes=settings.tenant_stored_bytes,
            sizes=tuple(sorted(settings.tenant_sizes)),
        )
        apps_seconds = max(settings.archive_kept_seconds, 2 * settings.record_seconds)
        return cls(
            farm_kinds(settings), limits, settings.record_seconds, message, settings.retain_records, apps_seconds
        )

    def encode(self) -> str:
        """As the scripts read them."""
        return json.dumps(
            {
                "classes": [{"name": name, "weight": weight} for name, weight in self.classes.items()],
                "sizes": len({parts_of(name)[1] for name in self.classes}),
                "tenant_sizes": len(self.limits.sizes),
                **self.limits.model_dump(exclude={"sizes"}),
                "message": self.message,
                "ahead": _AHEAD,
                "events_max": EVENTS_MAX,
                "index_max": INDEX_MAX,
                "app_index_max": APP_INDEX_MAX,
                "record_seconds": int(self.record_seconds),
                "records": self.records,
                "apps_seconds": int(self.apps_seconds),
                "key_seconds": _KEY_SECONDS,
                "started_seconds": _STARTED_SECONDS,
            }
        )

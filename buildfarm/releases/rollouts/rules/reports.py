"""What orchestrators report of an app's images. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from buildfarm.fields import Frozen, Name

REPORT_SECONDS = 7200  # how long a report counts
CLOCK_SECONDS = 5.0  # so much before the move of its app may a report on the new image be observed: clocks differ
BASELINE_SECONDS = 3600.0  # turns of apps that have not moved count as long
BASELINE_APPS = 5  # reports of fewer such apps excuse nothing


class Status(StrEnum):
    """How an app is on an image."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    STOPPED = "stopped"  # on purpose: nothing of it is meant to run


class Instances(Frozen):
    """How many of the app's processes there are."""

    running: Annotated[int, Field(ge=0)] = 0
    failing: Annotated[int, Field(ge=0)] = 0


class HealthReport(Frozen):
    """A reporter's newest observation of an app on an image."""

    tenant: Name
    app: Name
    status: Status
    reason: Literal["", "crash_loop", "failed_check", "error_rate", "slo", "manual"] = ""
    instances: Instances = Instances()
    started_at: float | None = Field(None, description="when the app was started on this image")
    observed_at: float = Field(allow_inf_nan=False, description="seconds since the epoch; a reporter's newest one wins")
    reporter: str = Field("orchestrator", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="such as a host's name")
    evidence: str = Field("", max_length=1000, description="for people: an address, or the last lines of a log")


@dataclass(frozen=True)
class Observation:
    """A report as it is kept; ``turned_at`` is when its reporter last saw the image turn from healthy to unhealthy."""

    digest: str
    reporter: str
    status: Status
    until: float
    turned_at: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class AppHealth:
    """All reports about one app."""

    observations: tuple[Observation, ...] = ()

    def status(self, digest: str, now: float, since: float = 0.0) -> Status | None:
        """How the app is on an image, by all reporters; None if no report counts, such as one from before ``since``."""
        over = max(now, since - CLOCK_SECONDS + REPORT_SECONDS)
        found = {one.status for one in self.observations if one.digest == digest and one.until > over}
        return next((status for status in (Status.UNHEALTHY, Status.HEALTHY, Status.STOPPED) if status in found), None)

    def turned(self, digest: str, now: float) -> bool:
        """Whether the app turned from healthy to unhealthy on an image within the last hour."""
        since = now - BASELINE_SECONDS
        return any(one.turned_at > since for one in self.observations if one.digest == digest and one.until > now)


def excused(images: Mapping[str, str], health: Mapping[str, AppHealth], moved: int, now: float) -> int:
    """How many of so many moved apps would be unhealthy without a move, by those that have not moved.

    ``images`` are the latter's digests by app. No more are excused than turned unhealthy of them within the last hour.
    """
    known = {name: one for name, image in images.items() if (one := health.get(name)) and one.status(image, now)}
    turned = sum(one.turned(images[name], now) for name, one in known.items())
    return min(turned, turned * moved // len(known)) if len(known) >= BASELINE_APPS else 0

"""What orchestrators report of an app's images. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from buildfarm.fields import Frozen, Name

REPORT_SECONDS = 7200  # how long a report counts
BASELINE_SECONDS = 3600.0  # turns of apps that have not moved count as long


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
    observed_at: float = Field(description="seconds since the epoch; the newest observation of a reporter wins")
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

    def status(self, digest: str, now: float) -> Status | None:
        """How the app is on an image, by all reporters; None if no report counts."""
        found = {one.status for one in self.observations if one.digest == digest and one.until > now}
        return next((status for status in (Status.UNHEALTHY, Status.HEALTHY, Status.STOPPED) if status in found), None)

    def turned(self, digest: str, now: float) -> bool:
        """Whether the app turned from healthy to unhealthy on an image within the last hour."""
        since = now - BASELINE_SECONDS
        return any(one.turned_at > since for one in self.observations if one.digest == digest and one.until > now)


def baseline(images: Mapping[str, str], health: Mapping[str, AppHealth], now: float) -> float:
    """The part of apps that turned unhealthy within the last hour, of those that have not moved.

    ``images`` are their digests by app. 0 if nothing is reported of them.
    """
    known = [name for name, image in images.items() if _of(health, name).status(image, now) is not None]
    turned = sum(_of(health, name).turned(images[name], now) for name in known)
    return turned / len(known) if known else 0.0


def _of(health: Mapping[str, AppHealth], name: str) -> AppHealth:
    return health.get(name, _NOTHING)


_NOTHING = AppHealth()

"""What an operator decides about a rollout. Pure."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from buildfarm.fields import NAME_PATTERN, Frozen
from buildfarm.releases.rollouts.rules.window import Window

APPS_MAX = 1000  # names in a list of a request
_COHORTS_MAX = 20
_URGENT = 6  # an urgent rollout soaks for a sixth of the time

AppName = Annotated[str, Field(max_length=61)]


class Severity(StrEnum):
    """How much haste there is."""

    NORMAL = "normal"
    URGENT = "urgent"  # soaks for a sixth of the time; canary and gate stay


class Parameters(Frozen):
    """How a rollout goes through its apps."""

    cohorts: tuple[str, ...] = Field(
        ("1", "1%", "5%", "25%", "100%"),
        min_length=1,
        max_length=_COHORTS_MAX,
        description="how many apps have moved at the end of each wave; the last must be 100%",
    )
    canaries: tuple[AppName, ...] = Field((), max_length=APPS_MAX, description="tenant/app; these are the first wave")
    freeze: tuple[AppName, ...] = Field((), max_length=APPS_MAX, description="tenants and tenant/app to leave out")
    lead_seconds: float = Field(
        0, ge=0, le=7 * 86_400, description="from the plan, for hosts to get the base; less if all that report have it"
    )
    soak_seconds: float = Field(3600, ge=0, le=30 * 86_400, description="between the end of a wave and the next")
    report_timeout_seconds: float = Field(900, gt=0, le=86_400, description="for a report about a moved app")
    failure_budget: float = Field(0.01, ge=0, le=1, description="part of a wave's apps; at least one app")
    min_reports: float = Field(0.8, gt=0, le=1, description="part of a wave's running apps that must be reported")
    max_in_flight: int = Field(500, ge=1, le=100_000, description="apps that have moved and are not reported yet")
    window: Window | None = Field(None, description="when apps may move; null: at any time")
    revert_failed: bool = Field(True, description="put an app that becomes unhealthy back at once")
    severity: Severity = Severity.NORMAL
    without_facts: str = Field(
        "", max_length=500, description="why apps may move of whose files it is not known what they need; empty: no"
    )

    @field_validator("cohorts")
    @classmethod
    def _cohorts_grow(cls, cohorts: tuple[str, ...]) -> tuple[str, ...]:
        for cohort in cohorts:
            if not re.fullmatch(r"[1-9]\d{0,5}|(100|[1-9]?\d)(\.\d{1,2})?%", cohort) or share_of(cohort) > 1:
                raise ValueError(
                    f"{cohort[:20]!r} is neither a number of apps, such as 1, nor a part of them, such as 5%"
                )
        if cohorts[-1] != "100%":
            raise ValueError("the last cohort must be 100%")
        return cohorts

    @field_validator("canaries", "freeze")
    @classmethod
    def _names_are_apps(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            tenant, slash, app = name.partition("/")
            if not all(re.fullmatch(NAME_PATTERN, part) for part in ((tenant, app) if slash else (tenant,))):
                raise ValueError(f"{name[:80]!r} is not written as TENANT/APP")
        return names

    @property
    def soak(self) -> float:
        """Seconds between the end of a wave and the next."""
        return self.soak_seconds / (_URGENT if self.severity is Severity.URGENT else 1)


def share_of(cohort: str) -> float:
    """The part of all apps that a cohort with a per cent sign is; 0 of one that is a number of apps."""
    return float(cohort[:-1]) / 100 if cohort.endswith("%") else 0.0

"""When a rollout may move apps: days and hours of a time zone. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationInfo, field_validator

from buildfarm.fields import Frozen

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = 24
KEPT = (
    "kept"  # context of a window that was planned: another machine knows its zone, or an older version took its hours
)

Hour = Annotated[int, Field(ge=0, le=_HOURS)]


class Window(Frozen):
    """The hours of these days, from the first and until the second one; at night if the first is the later one."""

    days: tuple[str, ...] = Field(_DAYS, min_length=1, max_length=7, description="mon, tue, … sun")
    hours: tuple[Hour, Hour] = (0, _HOURS)
    zone: str = Field("UTC", max_length=64, description="a name of the IANA database, such as Europe/Paris")

    @field_validator("days")
    @classmethod
    def _days_are_known(cls, days: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(days) - set(_DAYS):
            raise ValueError(f"{sorted(unknown)[0]!r} is not a day: write {', '.join(_DAYS)}")
        return days

    @field_validator("hours")
    @classmethod
    def _hours_are_a_time(cls, hours: tuple[int, int], info: ValidationInfo) -> tuple[int, int]:
        if info.context != KEPT and hours[0] in (hours[1], _HOURS):
            raise ValueError("the window begins at 24, or begins and ends at the same hour")
        return hours

    @field_validator("zone")
    @classmethod
    def _zone_is_known(cls, zone: str, info: ValidationInfo) -> str:
        if info.context == KEPT:
            return zone
        try:
            ZoneInfo(zone)
        except (ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
            raise ValueError(f"{zone!r} is not a time zone") from error
        except KeyError as error:
            raise ValueError(f"{zone!r} is not a time zone of this machine's database") from error
        return zone

    def is_open(self, now: float) -> bool:
        """Whether apps may move at this time, in seconds since the epoch. A night belongs to the day it begins on.

        Never on a machine whose database lacks the zone.
        """
        try:
            local = datetime.fromtimestamp(now, UTC).astimezone(ZoneInfo(self.zone))
        except (ValueError, OSError, KeyError):
            return False
        first, last = self.hours
        day = local.weekday()
        if first < last:
            return _DAYS[day] in self.days and first <= local.hour < last
        if local.hour >= first:
            return _DAYS[day] in self.days
        return local.hour < last and _DAYS[day - 1] in self.days

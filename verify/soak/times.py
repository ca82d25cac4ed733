"""How long a soak runs, and the settings that make a build's life short in it. No I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass

from buildfarm.gc.retention import DAY

RATE = 20.0  # builds a second
LIVES = 11
FULL_MINUTES = 45
LIFE_SECONDS = 240.0
_LEAST_LIVES, _LEAST_LIFE_SECONDS = 5, 100.0  # of a shorter run: less than this is no time for upkeep


@dataclass(frozen=True)
class Plan:
    """A run of so many minutes. In a life a build is submitted, ends, is archived and leaves the archive."""

    minutes: float
    rate: float = RATE  # builds a second

    @property
    def problem(self) -> str:
        """Why there is no such run, and what to ask for; empty if there is one."""
        if self.rate <= 0:
            return f"RATE is {self.rate:g}. Give a number of builds a second above 0."
        if self.lives < _LEAST_LIVES:
            least = math.ceil(_LEAST_LIVES * _LEAST_LIFE_SECONDS / 6) / 10
            return f"MINUTES is {self.minutes:g}: too short to compare lives. Give {least:g} or more."
        return ""

    @property
    def is_full(self) -> bool:
        """Whether it is as long as was promised, and as much."""
        return self.minutes >= FULL_MINUTES and self.rate >= RATE

    @property
    def life_seconds(self) -> float:
        """Of a build, until nothing of it is left."""
        return min(LIFE_SECONDS, max(_LEAST_LIFE_SECONDS, self.minutes * 60 / _LEAST_LIVES))

    @property
    def lives(self) -> int:
        """How many whole ones there are."""
        return int(self.minutes * 60 // self.life_seconds)

    @property
    def compared(self) -> tuple[int, int]:
        """The lives that are compared, the first one being 1: the later with one in which the farm was full."""
        last = min(self.lives, LIVES)
        return min(4 if last == LIVES else 3, last), last

    @property
    def span_seconds(self) -> float:
        """How far apart the builds in a pack are at most, for which there is no setting."""
        return self.life_seconds / 8

    def variables(self) -> dict[str, str]:
        """The settings, as fractions of a life: 240 s of it stand for 400 days."""
        life = self.life_seconds
        values = {
            "archive_seconds": life / 16,
            "record_seconds": int(life / 2),
            "archive_kept_seconds": life * 5 / 8,
            "retain_images": 1,
            "retain_image_days": life / 4 / DAY,
            "retain_source_days": life / 4 / DAY,
            "collect_grace_seconds": life / 8,
            "collect_every_seconds": life / 6,
            "build_seconds": life / 16,
            "outage_seconds": life / 16,
            "lease_seconds": 60,  # leases are not renewed here
            "resend_seconds": 30,
            "app_running_max": 2,
            "tenant_stored_bytes": 500_000_000,
        }
        return {f"BUILDFARM_{name.upper()}": f"{value:.9g}" for name, value in values.items()}

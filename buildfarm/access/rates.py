"""How often something may be done: buckets in Redis that all processes of the API share."""

from __future__ import annotations

from dataclasses import dataclass

from buildfarm.store.database import Database


@dataclass(frozen=True)
class Rates:
    """Every method raises StoreError where Redis cannot be reached."""

    database: Database

    def take(self, what: str, whose: str, size: int, seconds: float) -> float:
        """0 if one more may be done now; else the seconds until it may. ``size`` are allowed in ``seconds``."""
        return float(self.database.run("rate", [self.database.key("rate", what, whose)], size, seconds)) / 1000

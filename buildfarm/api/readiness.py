"""Whether Redis and the registry answer, checked once for all who ask at the same moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import anyio

from buildfarm.api.bodies import HealthView
from buildfarm.errors import BuildfarmError
from buildfarm.farm import Farm

_FRESH_SECONDS = 1.0


class Readiness:
    """The newest finding, kept for a second. Two threads serve it: it needs no token, so any client can ask."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._threads = anyio.CapacityLimiter(2)
        self._lock = asyncio.Lock()
        self._found: HealthView | None = None
        self._found_at = 0.0

    async def look(self) -> HealthView:
        """Whether both answer. A registry that hangs delays this by two seconds."""
        async with self._lock:
            if self._found is None or time.monotonic() - self._found_at > _FRESH_SECONDS:
                self._found = await self._ask()
                self._found_at = time.monotonic()
            return self._found

    async def _ask(self) -> HealthView:
        redis, registry = await asyncio.gather(
            self._answers(self._farm.database.uptime_seconds), self._answers(self._farm.quick_registry.ping)
        )
        return HealthView(ok=redis and registry, redis=redis, registry=registry)

    async def _answers(self, ask: Callable[[], object]) -> bool:
        try:
            await anyio.to_thread.run_sync(ask, limiter=self._threads)
        except BuildfarmError:
            return False
        return True

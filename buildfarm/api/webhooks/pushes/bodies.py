"""How many large bodies a process holds at once: anybody who knows a hook's address can send them, unsigned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from buildfarm.api.problems import RefusedError
from buildfarm.sources.pushes.hook import Hook

SMALL_BYTES = 64 * 1024  # these are not counted
_OF_HOOK, _OF_TENANT, _OF_ALL = 4, 8, 32  # of 5 MiB each at most


@dataclass
class Bodies:
    """The body of one delivery as it grows. In one thread, that of the event loop."""

    keys: tuple[str, str, str]
    counted: bool = False
    held: ClassVar[Counter[str]] = Counter()  # of the whole process

    @classmethod
    @contextmanager
    def of(cls, hook: Hook) -> Iterator[Bodies]:
        """Gives back what the body takes at the end of the block."""
        bodies = cls((f"hook {hook.id}", f"tenant {hook.tenant}", "all"))
        try:
            yield bodies
        finally:
            if bodies.counted:
                cls.held.subtract(bodies.keys)
                for key in bodies.keys:
                    if not cls.held[key]:
                        del cls.held[key]

    def grow(self, size: int) -> None:
        """The body has so many bytes now. Raises RefusedError if there are too many large ones."""
        if self.counted or size <= SMALL_BYTES:
            return
        limits = zip(self.keys, (_OF_HOOK, _OF_TENANT, _OF_ALL), strict=True)
        if any(self.held[key] >= limit for key, limit in limits):
            raise RefusedError(
                429, "request.rate", "Too many large deliveries arrive at once.", advice="Deliver it again later.",
                retry_seconds=5,
            )  # fmt: skip
        self.counted = True
        self.held.update(self.keys)

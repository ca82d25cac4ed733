"""Looks at a soak's Redis and registry."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildfarm.farm import Farm
from testkit.queue.key_list import KeyRow, key_rows, rows_of
from verify.soak import made
from verify.soak.lives import Sample

EVENTS = 100_000
_STATES = ("queued", "running", "succeeded")
_STATS = ("total.allocated", "dataset.bytes", "overhead.total", "clients.normal", "keys.count")


@dataclass(frozen=True)
class Watching:
    """What there is at a moment."""

    farm: Farm
    disk: Path

    def fill_events(self) -> None:
        """The stream of events is as long as it gets, as it is in every farm after a while; its entries are real."""
        pipeline = self.farm.database.client.pipeline(transaction=False)
        for number in range(EVENTS):
            fields: dict[Any, Any] = event_fields(number)
            pipeline.xadd(self.farm.database.key("events"), fields)
            if number % 5000 == 4999:
                pipeline.execute()

    def sample(self, seconds: float, builds: int) -> Sample:
        """Memory, and what the file system has."""
        memory: Any = self.farm.database.client.info("memory")
        found = os.statvfs(self.disk)
        used_bytes = (found.f_blocks - found.f_bfree) * found.f_frsize
        return Sample(seconds, int(memory["used_memory"]), used_bytes, found.f_files - found.f_ffree, builds)

    def keys(self) -> dict[str, tuple[int, int]]:
        """How many keys there are and their bytes, by the rows of docs/redis-keys.md."""
        rows, counts, sizes = key_rows(), Counter[str](), Counter[str]()
        namespace = self.farm.settings.namespace
        for key, size in self._sizes(f"{namespace}*"):
            kind = _kind(rows, key.removeprefix(namespace))
            counts[kind] += 1
            sizes[kind] += size
        return {kind: (count, sizes[kind]) for kind, count in sorted(counts.items())}

    def memory(self) -> dict[str, int]:
        """What Redis itself says that its memory is for."""
        stats: Any = self.farm.database.client.memory_stats()
        return {name: int(stats[name]) for name in _STATS}

    def _sizes(self, pattern: str) -> Iterator[tuple[str, int]]:
        client = self.farm.database.client
        keys = [str(key) for key in client.scan_iter(pattern, count=5000)]
        for some in (keys[at : at + 1000] for at in range(0, len(keys), 1000)):
            pipeline = client.pipeline(transaction=False)
            for key in some:
                pipeline.memory_usage(key, samples=0)
            yield from zip(some, (size or 0 for size in pipeline.execute()), strict=True)

    def files(self) -> dict[str, int]:
        """How many files and folders the registry has, by where they are."""
        top, counts = self.disk / "docker/registry/v2", Counter[str]()
        for folder, folders, files in os.walk(top):
            parts = Path(folder).relative_to(top).parts
            counts["/".join(part for part in parts[:2] if part != "sha256")] += len(folders) + len(files)
        return dict(sorted(counts.items()))


def _kind(rows: Sequence[KeyRow], key: str) -> str:
    return next((row.pattern for row in rows_of(rows, key)), "no row of it")


def event_fields(number: int) -> dict[str, str]:
    """A change of state of a build before the first, as the farm reports it."""
    tenant, app = made.place_of(number // len(_STATES))
    state = _STATES[number % len(_STATES)]
    fields = {"build": made.id_of(number // len(_STATES)), "state": state, "tenant": tenant, "app": app}
    attempt = {} if state == "queued" else {"attempt": "1"}
    return {**fields, "build_class": "interactive", **attempt, **({"node": "soak-0"} if state == "running" else {})}

"""Looks at a soak's Redis and registry."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildfarm.farm import Farm
from testkit.queue.key_list import KeyRow, key_rows, rows_of
from verify.soak.lives import Sample

EVENTS = 100_000


@dataclass(frozen=True)
class Watching:
    """What there is at a moment."""

    farm: Farm
    disk: Path

    def fill_events(self) -> None:
        """The stream of events is as long as it gets, as it is in every farm after a while."""
        pipeline = self.farm.database.client.pipeline(transaction=False)
        for number in range(EVENTS):
            fields: dict[Any, Any] = {"build": f"{number:016x}", "state": "succeeded", "attempt": "1"}
            pipeline.xadd(self.farm.database.key("events"), fields)
            if number % 5000 == 4999:
                pipeline.execute()

    def sample(self, seconds: float, builds: int) -> Sample:
        """Memory, and what the file system has."""
        memory: Any = self.farm.database.client.info("memory")
        found = os.statvfs(self.disk)
        used_bytes = (found.f_blocks - found.f_bfree) * found.f_frsize
        return Sample(seconds, int(memory["used_memory"]), used_bytes, found.f_files - found.f_ffree, builds)

    def keys(self) -> dict[str, int]:
        """How many keys there are, by the rows of docs/redis-keys.md."""
        rows, counts = key_rows(), Counter[str]()
        namespace = self.farm.settings.namespace
        for key in self.farm.database.client.scan_iter(f"{namespace}*", count=5000):
            counts[_kind(rows, str(key).removeprefix(namespace))] += 1
        return dict(sorted(counts.items()))

    def files(self) -> dict[str, int]:
        """How many files and folders the registry has, by where they are."""
        top, counts = self.disk / "docker/registry/v2", Counter[str]()
        for folder, folders, files in os.walk(top):
            parts = Path(folder).relative_to(top).parts
            counts["/".join(part for part in parts[:2] if part != "sha256")] += len(folders) + len(files)
        return dict(sorted(counts.items()))


def _kind(rows: Sequence[KeyRow], key: str) -> str:
    return next((row.pattern for row in rows_of(rows, key)), "no row of it")

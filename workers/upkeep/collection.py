"""The registry's garbage is collected by the leading node, in a separate process, so that no build waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from buildfarm.gc.files.trash import left_over
from buildfarm.gc.storage import Storage
from buildfarm.settings import Settings
from buildfarm.store.keeping.collections import Collections
from buildfarm.store.keeping.usage import Usage
from buildfarm.telemetry import Logger

COLLECT_SECONDS = 5.0  # between two looks

_AGAIN_SECONDS = 300.0  # after a collection that failed
_STOP_SECONDS = 5.0
_DISK_SECONDS = 60.0  # how long a report of the disk counts


@dataclass
class Collection:
    """Starts a collection when one is due or was cut short, and sees how it ends."""

    settings: Settings
    storage: Storage
    collections: Collections
    failed: Callable[[], object]
    logger: Logger
    _process: subprocess.Popen[str] | None = None
    _not_before: float = field(default=0.0)
    _started_at: float = field(default=0.0)

    def look(self) -> None:
        """Returns at once. Raises StoreError."""
        if self.storage.exists():
            Usage(self.collections.database).put_disk(*self.storage.disk(), _DISK_SECONDS)
        if self._process is not None:
            self._see()
        elif self.collections.led_by(self.settings.node_id) and self._due():
            self._start()

    def close(self) -> None:
        """Ends a collection that runs; the next one completes it."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.communicate(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def _due(self) -> bool:
        now = self.collections.database.now()
        if now < self._not_before or not self.storage.exists():
            return False
        due = self.collections.due(self.settings.collect_every_seconds) or left_over(self.storage)
        return due and not self.storage.is_locked()

    def _start(self) -> None:
        self._started_at = self.collections.database.now()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "buildfarm", "gc", str(self.storage.root)],
            env={**os.environ, **_variables(self.settings)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _see(self) -> None:
        process = self._process
        if process is None or process.poll() is None:
            return
        self._process = None
        _, said = process.communicate()
        if process.returncode:
            if self._other_collects():
                return  # the lead changed while this one started
            self._not_before = self.collections.database.now() + _AGAIN_SECONDS
            self.failed()
            self.logger.warning("collection_failed", code=process.returncode, reason=said[-500:].strip())
            return
        newest = self.collections.newest()
        if newest is not None:
            found = newest.found
            self.logger.info(
                "registry_collected",
                manifests=found["manifests"],
                blobs=found["blobs"],
                freed_bytes=found["freed_bytes"],
                stored_bytes=found["stored_bytes"],
                seconds=found["seconds"],
            )

    def _other_collects(self) -> bool:
        """Whether another process collects, or has done so since this one started its own."""
        newest = self.collections.newest()
        return self.storage.is_locked() or (newest is not None and newest.ended_at > self._started_at)


def _variables(settings: Settings) -> dict[str, str]:
    """What a collection reads of the settings, for a process that may have another environment."""
    names = ("namespace", "registry_url", "builder", "imager", "record_seconds", "build_seconds", "outage_seconds")
    chosen = [name for name in Settings.model_fields if name.startswith(("collect_", "retain_"))]
    found = {f"BUILDFARM_{name.upper()}": str(getattr(settings, name)) for name in (*names, *chosen)}
    files = {"IN_USE_FILE": settings.in_use_file, "REDIS_CA": settings.redis_ca, "REGISTRY_CA": settings.registry_ca}
    if settings.sizes:  # the longest build's time keeps what it has uploaded
        found["BUILDFARM_SIZES"] = ",".join(f"{name}={text}" for name, text in settings.sizes.items())
    found |= {f"BUILDFARM_{name}": str(path) for name, path in files.items() if path}
    secrets = {"REDIS_URL": settings.redis_url, "FARM_KEY": settings.farm_key}
    return {**found, **{f"BUILDFARM_{name}": value.get_secret_value() for name, value in secrets.items()}}

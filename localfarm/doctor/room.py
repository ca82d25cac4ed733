"""Room for builds: memory, disks, and folders that can be written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from buildfarm.settings import Settings
from buildfarm.telemetry.units import size
from localfarm.doctor.finding import Finding, missing, notice, ok
from workers.upkeep.disk import shortage
from workers.upkeep.pool_upkeep import read_memory


def check_memory(meminfo: str, settings: Settings) -> Finding:
    """Whether this machine has as much as builds may use."""
    total, each = read_memory(meminfo, "MemTotal"), settings.memory_bytes
    if total < each:
        detail = f"A build may use {size(each)} of memory, and this machine has {size(total)}."
        return missing("memory", detail, "Set BUILDFARM_MEMORY_BYTES to less.")
    if total < each * settings.slots:
        detail = f"{settings.slots} builds at once may use {size(each)} of memory each, of {size(total)}."
        return notice("memory", detail, "Set BUILDFARM_SLOTS or BUILDFARM_MEMORY_BYTES to less.")
    return ok("memory", f"{size(read_memory(meminfo, 'MemAvailable'))} of {size(total)} available")


def check_folders(settings: Settings, folders: Mapping[str, Path]) -> Iterator[Finding]:
    """Whether each can be written, and the room on their disks; ``folders`` by the setting that names them."""
    disks: dict[int, Path] = {}
    for name, folder in folders.items():
        place = nearest(folder)
        disks.setdefault(place.stat().st_dev, place)
        if not os.access(place, os.W_OK | os.X_OK) and name:
            yield missing("folders", f"{folder} is not writable.", f"Name another folder in {name}.")
    for place in disks.values():
        yield _disk(place, settings)


def nearest(folder: Path) -> Path:
    """The folder, or else the first one above it that this user can see."""
    places = (folder, *folder.absolute().parents)
    # Path.is_dir would raise where a folder above is closed to this user.
    return next(place for place in places if os.path.isdir(place))  # noqa: PTH112


def _disk(place: Path, settings: Settings) -> Finding:
    free_bytes = shutil.disk_usage(place).free
    if full := shortage(free_bytes, settings.disk_free_bytes):
        advice = "Make room, or name folders on another disk in the settings; a node takes no builds before."
        return missing("disk", f"{place}: {full}.", advice)
    if free_bytes < settings.disk_clean_bytes:
        advice = "Make room: caches are removed until it is more."
        return notice("disk", f"{place}: {size(free_bytes)} free, less than {size(settings.disk_clean_bytes)}.", advice)
    return ok("disk", f"{size(free_bytes)} free at {place}")

"""Sizes of sandboxes: what each gives a build, and which one is next. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from buildfarm.queue.names import STANDARD
from buildfarm.settings import Settings

_UNITS = {"MiB": 1024**2, "GiB": 1024**3}
_FIELDS = {"memory": "memory_bytes", "disk": "disk_bytes", "cpus": "cpus", "seconds": "seconds"}


@dataclass(frozen=True)
class Size:
    """What the sandbox of one build has."""

    name: str
    memory_bytes: int
    cpus: float
    disk_bytes: int  # of its workspace
    seconds: float  # that the build may take


def sizes_of(settings: Settings) -> dict[str, Size]:
    """The farm's sizes by name: standard, then those of the setting, which are like it in what they leave out."""
    limits = (settings.memory_bytes, settings.cpus, settings.workspace_bytes, settings.build_seconds)
    standard = Size(STANDARD, *limits)
    others = {name: replace(standard, name=name, **_read(text)) for name, text in settings.sizes.items()}
    return {STANDARD: standard, **others}


def larger(sizes: Mapping[str, Size], size: str, usable: Collection[str]) -> str:
    """The usable size with the least memory over that of ``size``; empty if there is none."""
    now = sizes[size].memory_bytes if size in sizes else 0
    found = [each for name, each in sizes.items() if name in usable and each.memory_bytes > now]
    return min(found, key=lambda each: each.memory_bytes).name if found else ""


def memory_text(memory_bytes: int) -> str:
    """An amount of memory in the units of the setting."""
    unit = "GiB" if memory_bytes >= _UNITS["GiB"] else "MiB"
    return f"{memory_bytes / _UNITS[unit]:.4g} {unit}"


def _read(text: str) -> dict[str, Any]:
    """The parts of a size as the setting has them, which has checked them."""
    found: dict[str, Any] = {}
    for part in text.split("/"):
        name, _, value = part.partition(":")
        unit = _UNITS.get(value[-3:])
        found[_FIELDS[name]] = int(value[:-3]) * unit if unit else float(value)
    return found

"""The node's disk: how much of it is free, and what can go when that is too little."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import docker

from buildfarm.telemetry import Logger
from workers.engine import engine_failures


def shortage(free_bytes: int, needed_bytes: int) -> str:
    """What is wrong with a disk that builds write to; empty if it has enough room."""
    if free_bytes >= needed_bytes:
        return ""
    return f"its disk is full ({free_bytes / 1e9:.1f} GB free, {needed_bytes / 1e9:.1f} needed)"


@dataclass(frozen=True)
class Disk:
    """The node's disk: how much of it is free, and what can go when that is too little."""

    client: docker.DockerClient
    folders: Sequence[Path]  # one for each file system that builds write to
    clean_bytes: int  # with less free, old things go
    forget_caches: Callable[[int], int]  # so many bytes of those used longest ago; how many it were
    builders: Callable[[], Set[str]]  # those in use or wanted, as the engine knows them: repository@digest
    logger: Logger

    def free_bytes(self) -> int:
        """Of the fullest file system."""
        return min(shutil.disk_usage(folder).free for folder in self.folders)

    def has_room(self) -> bool:
        """Whether nothing need go."""
        return self.free_bytes() >= self.clean_bytes

    def make_room(self) -> None:
        """Keeps the disk under its high-water mark: caches used longest ago go first, then old builders. NodeError."""
        missing_bytes = self.clean_bytes - self.free_bytes()
        if missing_bytes <= 0:
            return
        freed_bytes = self.forget_caches(missing_bytes)
        removed = self._remove_old_builders() if freed_bytes < missing_bytes else []
        if freed_bytes or removed:
            self.logger.warning("disk_cleaned", cache_bytes=freed_bytes, builders=removed)

    def _remove_old_builders(self) -> list[str]:
        named = self.builders()
        old: list[str] = []
        for repository in sorted({name.partition("@")[0] for name in named}):
            with engine_failures("list images"):
                found = self.client.api.images(name=repository)
            tagged = {reference for image in found for reference in image["RepoDigests"] or ()}
            old += sorted(name for name in tagged - named if name.startswith(f"{repository}@"))
        removed = []
        for reference in old:
            try:
                self.client.api.remove_image(reference)
            except docker.errors.APIError as error:
                if error.status_code != 409:  # a build still stands on it
                    raise
            else:
                removed.append(reference)
        return removed

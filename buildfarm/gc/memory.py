"""What a collection leaves in the registry's files: it shows that a copy was restored, and which images ran.

A mark is in Redis and in the files, and each collection changes it. If the two differ, one of them is older than the
other: its records, or its reports of running images, may not name what is needed.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from buildfarm.errors import SetupError
from buildfarm.store import Database
from buildfarm.store.keeping.collections import Collections
from buildfarm.store.keeping.marks import Marks
from buildfarm.store.keeping.running import ImagesInUse, Report

_ADVICE = (
    "Have the images that run reported, then run buildfarm gc --adopt once: it reads the archive anew."
    " Tagged images stay in any case; docs/restore.md has the steps."
)


class Kept(Protocol):
    """Where a collection leaves it: the registry's files, or the registry itself."""

    @property
    def root(self) -> object:
        """What a sentence about the registry calls it."""

    def owner(self) -> str:
        """The id of the farm that collects here; empty if none did yet."""

    def own(self, farm_id: str) -> None:
        """The farm of this id collects here from now on."""

    def memory(self) -> Mapping[str, Any]:
        """What the newest collection left; empty if there was none."""

    def remember(self, memory: Mapping[str, object]) -> None:
        """Replaces it."""


@dataclass(frozen=True)
class Memory:
    """Reports of running images and the sources of these, as the newest collection knew them."""

    mark: str = ""
    reports: tuple[Report, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> dict[str, object]:
        """As JSON has it."""
        reports = [{**asdict(report), "images": sorted(report.images)} for report in self.reports]
        return {"mark": self.mark, "reports": reports, "sources": dict(self.sources)}

    @classmethod
    def decode(cls, found: Mapping[str, Any]) -> Memory:
        """Reads what `encode` made."""
        reports = [
            Report(str(report["reporter"]), frozenset(report["images"]), float(report["until"]))
            for report in found.get("reports", ())
        ]
        return cls(str(found.get("mark", "")), tuple(reports), dict(found.get("sources", {})))


def claim(storage: Kept, database: Database, *, adopt: bool) -> None:
    """A registry's garbage is collected by the one farm whose records name its images. Raises SetupError."""
    owner, farm_id = storage.owner(), Collections(database).farm_id()
    if owner and owner != farm_id and not adopt:
        raise SetupError(
            f"The registry in {storage.root} belongs to another farm, or this farm's Redis was restored empty:"
            " its records do not say which images are needed.",
            advice=_ADVICE,
        )
    if owner == farm_id and not adopt and not is_of_now(storage.memory().get("mark", ""), Marks(database).valid()):
        raise SetupError(
            f"This farm's Redis, or the registry in {storage.root}, was restored from an older copy:"
            " the records may not say which images are needed.",
            advice=_ADVICE,
        )
    if owner != farm_id:
        storage.own(farm_id)


def is_of_now(mark: str, marks: Collection[str]) -> bool:
    """Whether the files, which have this mark, and Redis, which knows these, are of the same time."""
    return mark in marks if mark or marks else True


def take_over(storage: Kept, in_use: ImagesInUse) -> Memory:
    """Reports that the files know and Redis does not count again, for as long as they would have."""
    memory, now = Memory.decode(storage.memory()), in_use.database.now()
    here = {report.reporter: report for report in in_use.all()}
    for report in memory.reports:
        known = here.get(report.reporter, Report(report.reporter, frozenset(), now))
        missing = report.images - known.images
        if missing and report.until > now:
            until = max(report.until, known.until)
            in_use.report(report.reporter, known.images | missing, until - now)
    return memory


def remember(storage: Kept, database: Database) -> None:
    """Leaves what is known now in the files, under a new mark; if the process dies in between, both marks count."""
    in_use, marks = ImagesInUse(database), Marks(database)
    mark = marks.make()
    try:
        storage.remember(Memory(mark, tuple(in_use.all()), in_use.known_sources()).encode())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return  # the mark before still counts, and the collection will make room
    marks.settled(mark)

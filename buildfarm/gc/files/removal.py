"""The removal itself: parts are moved aside, and what a push needs after all is moved back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from buildfarm.gc.choose import subject_of
from buildfarm.gc.files.aside import Aside, blob_link
from buildfarm.gc.plan import Plan
from buildfarm.gc.storage import Storage, Stored, linked_at


@dataclass
class Removal:
    """One collection that really removes."""

    storage: Storage
    plan: Plan
    aside: Aside
    deadline: float
    manifests: list[Stored] = field(default_factory=list)  # aside by now
    blobs: list[str] = field(default_factory=list)
    links: list[tuple[str, str, float]] = field(default_factory=list)

    def take(self, blobs: Sequence[str]) -> None:
        """Moves all aside, until the time is up; manifests first, so that nothing is left that names what is gone."""
        for item in self.plan.choice.going:
            if self._time_is_up():
                return
            for tag in item.tags:
                self.aside.take(self._tag(item.repository, tag))
            if self.aside.take(self.storage.revision(item.repository, item.digest)):
                self.manifests.append(item)
        for link in self.plan.links:
            if self._time_is_up():
                return
            if self.aside.take(blob_link(self.storage, *link[:2])):
                self.links.append(link)
        for digest in blobs:
            if self._time_is_up():
                return
            if self.aside.take(self.storage.blob(digest)):
                self.blobs.append(digest)

    def put_back_late(self) -> int:
        """Puts back what pushes have named since the storage was read; returns how many blobs."""
        there = {(item.repository, item.digest): item for item in self.manifests}
        about = self._about()
        count, seen = 0, set[tuple[str, str]]()
        wanted = [(item.repository, name) for item in self._pushed() for name in item.names]
        while wanted:
            repository, digest = place = wanted.pop()
            if place in seen:
                continue
            seen.add(place)
            count += self.aside.put_back(self.storage.blob(digest))
            self.aside.put_back(blob_link(self.storage, repository, digest))
            wanted.extend((repository, name) for name in about.get(place, ()))
            if place in there:
                self._restore(there[place])
                wanted.extend((repository, name) for name in there[place].names)
        self._put_back_written()
        self.manifests = [
            item for item in self.manifests if self.aside.has(self.storage.revision(item.repository, item.digest))
        ]
        self.blobs = [digest for digest in self.blobs if self.aside.has(self.storage.blob(digest))]
        return count

    def _about(self) -> dict[tuple[str, str], list[str]]:
        """The referrers that are aside, by repository and subject: an image comes back with its signatures."""
        known: dict[str, dict[str, Stored]] = {}
        for item in chain(self.plan.choice.going, (item for item, _ in self.plan.choice.staying)):
            known.setdefault(item.repository, {})[item.digest] = item
        found: dict[tuple[str, str], list[str]] = {}
        for item in self.manifests:
            if subject := subject_of(item, known[item.repository]):
                found.setdefault((item.repository, subject), []).append(item.digest)
        return found

    def _pushed(self) -> list[Stored]:
        """Manifests that were pushed, and those aside that were pushed again or got a tag."""
        known: dict[str, dict[str, float]] = {}
        for item in chain(self.plan.choice.going, (item for item, _ in self.plan.choice.staying)):
            known.setdefault(item.repository, {})[item.digest] = item.written_at
        late = []
        for repository in self.storage.repositories():
            for digest, written_at in self.storage.revisions(repository):
                if known.get(repository, {}).get(digest) != written_at:
                    self.aside.put_back(self.storage.blob(digest))  # before it is read
                    late.append(self.storage.stored(repository, digest, written_at))
        tags = {
            repository: self.storage.tags(repository) for repository in {item.repository for item in self.manifests}
        }
        for item in self.manifests:
            moved = self.aside.place(self.storage.revision(item.repository, item.digest))
            if item.digest in tags[item.repository] or linked_at(moved) not in (item.written_at, None):
                late.append(item)
        return late

    def _restore(self, item: Stored) -> None:
        self.aside.put_back(self.storage.revision(item.repository, item.digest))
        for tag in item.tags:
            self.aside.put_back(self._tag(item.repository, tag))

    def _put_back_written(self) -> None:
        """Links and tags that the registry wrote while they were moved."""
        for repository, digest, written_at in self.links:
            link = blob_link(self.storage, repository, digest)
            if linked_at(self.aside.place(link)) not in (written_at, None):
                self.aside.put_back(link)
                self.aside.put_back(self.storage.blob(digest))
        for item in self.manifests:
            for tag in item.tags:
                current = self.aside.place(self._tag(item.repository, tag)) / "current" / "link"
                if current.is_file() and current.read_text().strip() != item.digest:
                    self.aside.put_back(self._tag(item.repository, tag))

    def _tag(self, repository: str, tag: str) -> Path:
        return self.storage.folder(repository) / "_manifests" / "tags" / tag

    def _time_is_up(self) -> bool:
        return time.monotonic() > self.deadline

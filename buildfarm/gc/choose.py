"""What of a registry stays, and for which reason; all else may go. No I/O.

Stays: what a tag, a record or a running container names, what is younger than the grace, the newest few, and what these
are made of. A referrer (a signature, a bill of materials) lives exactly as long as its subject, and a release as long
as an image names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from buildfarm.gc.storage import Stored

SOURCES, CACHES, ARCHIVE, AUDIT = "sources/", "caches/", "archive/", "audit/"
COLLECTION = "collection/memory"  # of collections over the API

# OCI distribution-spec, "Referrers Tag Schema", and cosign's tags of signatures, attestations and SBOMs.
REFERRER_TAG = re.compile(r"sha256-([0-9a-f]{64})(\.[a-z0-9.]+)?")


class Reason(StrEnum):
    """Why something stays; the first that is true counts."""

    RUNNING = "running"  # the orchestrator reported it as in use
    RECORD = "record"  # a build's record names it, or it is the builder
    LISTED = "listed"  # the operator's list names it
    TAG = "tag"  # a tag points to it
    YOUNG = "young"  # younger than the grace, or replaced by a move since
    NEWEST = "newest"  # among the newest of its app
    AGE = "age"  # younger than its policy allows
    PART = "part"  # an index that stays names it
    REFERRER = "referrer"  # it is about a manifest that stays


@dataclass(frozen=True)
class Keep:
    """How long things of one kind stay: the newest ``count``, and others for ``seconds``."""

    seconds: float
    count: int


@dataclass(frozen=True)
class Rules:
    """What stays, beside what is named by a tag or a record."""

    images: int = 10  # newest images of an app, with or without a tag
    image_seconds: float = 0
    sources: int = 0  # newest sources of a tenant
    source_seconds: float = 7 * 86400
    caches: int = 0
    cache_seconds: float = 30 * 86400
    grace_seconds: float = 86400  # a build's own blobs are named by no manifest until it publishes
    policies: Mapping[str, Keep] = field(default_factory=dict)  # by repository or the folder of one, over the above

    def keep(self, repository: str) -> Keep:
        """The rule of a repository."""
        for name in (repository, repository.rpartition("/")[0]):
            if name in self.policies:
                return self.policies[name]
        if repository.startswith(SOURCES):
            return Keep(self.source_seconds, self.sources)
        if repository.startswith(CACHES):
            return Keep(self.cache_seconds, self.caches)
        if repository.startswith((ARCHIVE, AUDIT, COLLECTION)):
            return Keep(0, 0)  # without a tag: what it has is in another one
        return Keep(self.image_seconds, self.images)


@dataclass(frozen=True)
class Choice:
    """The manifests that may go, and those that stay with the reason."""

    going: list[Stored]
    staying: list[tuple[Stored, Reason]]


def choose(manifests: Iterable[Stored], used: Mapping[str, Reason], rules: Rules, now: float) -> Choice:
    """Divides the manifests. ``used`` are digests of images and sources that something outside names, and why."""
    by_repository: dict[str, list[Stored]] = {}
    for manifest in manifests:
        by_repository.setdefault(manifest.repository, []).append(manifest)
    going, staying = [], []
    for repository, found in by_repository.items():
        kept = _Repository(repository, found, used, rules, now).kept()
        for item in found:
            if item.digest in kept:
                staying.append((item, kept[item.digest]))
            else:
                going.append(item)
    return Choice(going, staying)


@dataclass(frozen=True)
class _Repository:
    name: str
    found: Sequence[Stored]
    used: Mapping[str, Reason]
    rules: Rules
    now: float

    def kept(self) -> dict[str, Reason]:
        """The digests that stay."""
        there = {item.digest: item for item in self.found}
        subjects = {item.digest: subject for item in self.found if (subject := subject_of(item, there))}
        referrers: dict[str, list[str]] = {}
        for digest, subject in subjects.items():
            referrers.setdefault(subject, []).append(digest)
        kept = dict(self._roots(there, subjects))
        waiting = list(kept)
        while waiting:
            item = there[waiting.pop()]
            parts = [(name, Reason.PART) for name in item.names]
            about = [(name, Reason.REFERRER) for name in referrers.get(item.digest, ())]
            for name, reason in (*parts, *about):
                if name in there and name not in kept:
                    kept[name] = reason
                    waiting.append(name)
        return kept

    def _roots(self, there: Mapping[str, Stored], subjects: Mapping[str, str]) -> Iterator[tuple[str, Reason]]:
        parts = {name for item in self.found for name in item.names if name != item.digest}
        others = {*subjects, *parts}
        rank, replaced_at = 0, dict[str, float]()
        for item in sorted(self.found, key=lambda item: (item.written_at, item.digest), reverse=True):
            whole = item.digest not in others and not (item.is_release or item.is_signatures)
            # Images of one release on several bases are one build: only their newest counts.
            is_older = item.release in replaced_at
            # The others were in use until the newest came, so that their grace begins then.
            since = replaced_at.get(item.release, item.written_at)
            # A referrer whose subject is there has no life of its own; one whose subject is missing may be early.
            reason = self._named(item) or (None if subjects.get(item.digest) in there else self._young(since))
            if reason or (whole and (reason := self._by_policy(item, inf if is_older else rank))):
                yield item.digest, reason
            rank += whole and not is_older
            if item.release:
                replaced_at.setdefault(item.release, item.written_at)

    def _named(self, item: Stored) -> Reason | None:
        if item.digest in self.used:
            return self.used[item.digest]
        return Reason.TAG if _own_tags(item) and not self.name.startswith((SOURCES, CACHES)) else None

    def _young(self, since: float) -> Reason | None:
        return Reason.YOUNG if self.now - since < self.rules.grace_seconds else None

    def _by_policy(self, item: Stored, rank: float) -> Reason | None:
        keep = self.rules.keep(self.name)
        if self.name.startswith(CACHES) and not item.tags:
            return None  # replaced by a newer one
        if rank < keep.count:
            return Reason.NEWEST
        return Reason.AGE if self.now - item.written_at <= keep.seconds else None


def _own_tags(item: Stored) -> set[str]:
    """The tags of an image, without those by which referrers are found."""
    return {tag for tag in item.tags if not REFERRER_TAG.fullmatch(tag)}


def subject_of(item: Stored, there: Mapping[str, Stored]) -> str:
    """What a referrer is about; empty if it is not a referrer."""
    if _own_tags(item):
        return ""
    if item.subject:
        return item.subject
    for tag in item.tags:
        if found := REFERRER_TAG.fullmatch(tag):
            return f"sha256:{found[1]}"
    # The list of referrers as it was before the newest of them came has lost its tag.
    about = {there[name].subject for name in item.names if name in there}
    return next(iter(about - {""}), "")

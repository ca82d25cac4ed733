"""Garbage in the registry: what may go, and its removal while the registry runs.

May go: sources and build caches by their age, images without a tag beyond the newest few of their app, and every
blob that no manifest names. Nothing that a build's record names, and nothing that is younger than the grace.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from buildfarm.gc.storage import Storage, Stored

SOURCES, CACHES = "sources/", "caches/"


@dataclass(frozen=True)
class Rules:
    """What stays, beside what is named by a tag or a record."""

    images: int = 10  # newest images of an app, with or without a tag
    source_seconds: float = 7 * 86400
    cache_seconds: float = 30 * 86400
    grace_seconds: float = 86400  # a build's own blobs are named by no manifest until it publishes
    settle_seconds: float = 5  # the registry writes a manifest within this after it saw all that the manifest names


@dataclass(frozen=True)
class Collected:
    """What a collection removed, or would remove."""

    manifests: int
    blobs: int
    freed_bytes: int
    kept_manifests: int
    put_back: int = 0


def choose(manifests: Iterable[Stored], used: Collection[str], rules: Rules, now: float) -> list[Stored]:
    """The manifests that may go. ``used`` are digests of images and sources that a record names."""
    going = []
    by_repository: dict[str, list[Stored]] = {}
    for manifest in manifests:
        by_repository.setdefault(manifest.repository, []).append(manifest)
    for repository, found in by_repository.items():
        newest_first = sorted(found, key=lambda item: (item.written_at, item.digest), reverse=True)
        inside = {name for item in found for name in item.names if name != item.digest}
        for rank, item in enumerate(newest_first):
            age = now - item.written_at
            if item.digest in used or item.digest in inside or age < rules.grace_seconds:
                continue
            if repository.startswith(SOURCES):
                goes = age > rules.source_seconds
            elif repository.startswith(CACHES):
                goes = age > rules.cache_seconds or not item.tags
            else:
                goes = not item.tags and rank >= rules.images
            if goes:
                going.append(item)
    return going


def collect(storage: Storage, used: Collection[str], rules: Rules, *, really: bool) -> Collected:
    """Removes what may go; without ``really`` only counts it. The registry may go on taking pushes.

    Blobs are set aside, then manifests that came meanwhile are looked at, and what they name is put back; before the
    look there is a pause, for manifests that were checked when their blobs were still there. A push that
    names a blob which is aside is refused by the registry, and its build is tried again with the blob sent anew. The
    registry must keep no cache of blobs (``storage.cache``), or be restarted afterwards.
    """
    started = time.time()
    manifests = list(storage.manifests())
    going = choose(manifests, used, rules, started)
    leaving = set(map(id, going))
    staying = [item for item in manifests if id(item) not in leaving]
    named = {name for item in staying for name in item.names}
    unnamed = {
        digest: size
        for digest, size, written_at in storage.blobs()
        if digest not in named and started - written_at >= rules.grace_seconds
    }
    if not really:
        return Collected(len(going), len(unnamed), sum(unnamed.values()), len(staying))
    for item in going:
        storage.forget(item)
    aside = storage.set_aside(unnamed)
    if unnamed:
        time.sleep(rules.settle_seconds)
    gone = {item.digest for item in going}
    late = {
        name
        for item in storage.manifests()
        if item.digest not in gone or item.written_at >= started - 1
        for name in item.names
    }
    put_back = aside.put_back(late & unnamed.keys())
    aside.remove()
    removed = unnamed.keys() - late
    storage.forget_links(frozenset(removed))
    return Collected(len(going), len(removed), sum(unnamed[digest] for digest in removed), len(staying), put_back)

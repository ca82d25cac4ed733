"""What of a registry may go: manifests by the rules, and the blobs and links that nothing needs then."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from buildfarm.gc.choose import Choice, Reason, Rules, choose
from buildfarm.gc.storage import Storage, linked_at


@dataclass(frozen=True)
class Plan:
    """What may go."""

    choice: Choice
    blobs: Mapping[str, int]  # unnamed, with their bytes, the oldest first
    links: Sequence[tuple[str, str, float]]  # repository, digest and time of links that its repository does not need
    sizes: Mapping[str, int]  # of all blobs


def make_plan(storage: Storage, used: Mapping[str, Reason], rules: Rules) -> Plan:
    """Reads the storage. ``used`` are digests that something outside names, and why."""
    now = time.time()
    choice = choose(storage.manifests(), used, rules, now)
    needed: dict[str, set[str]] = {}
    for item, _ in choice.staying:
        needed.setdefault(item.repository, set()).update(item.names)
    named = {*chain.from_iterable(needed.values()), *used}  # a log that waits for its pack has no manifest
    links, young = [], set()
    for repository in storage.repositories():
        wanted = needed.get(repository, set())
        for entry in storage.links(repository):
            digest = f"sha256:{entry.name}"
            if digest not in wanted and digest not in used and (written_at := linked_at(entry)) is not None:
                if now - written_at < rules.grace_seconds:
                    young.add(digest)  # a build that runs has just sent or mounted it
                else:
                    links.append((repository, digest, written_at))
    sizes, unnamed = {}, []
    for digest, size, written_at in storage.blobs():
        sizes[digest] = size
        if digest not in named and digest not in young and now - written_at >= rules.grace_seconds:
            unnamed.append((written_at, digest))
    return Plan(choice, {digest: sizes[digest] for _, digest in sorted(unnamed)}, links, sizes)


def within(blobs: Mapping[str, int], most_bytes: float) -> list[str]:
    """The first of these blobs, until they have so many bytes."""
    taken, total = [], 0
    for digest, size in blobs.items():
        if total >= most_bytes:
            break
        taken.append(digest)
        total += size
    return taken

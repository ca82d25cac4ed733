"""Whether the facts of an app's layers let it move from one base to another."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from buildfarm.errors import NotRebasableError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor
from buildfarm.releases.base import Base
from buildfarm.releases.facts.base import BaseFacts
from buildfarm.releases.facts.compare import blockers
from buildfarm.releases.facts.layer import LayerFacts, Unread
from buildfarm.releases.facts.pair import differences
from buildfarm.releases.facts.store import FactsStore
from buildfarm.releases.facts.wanted import Urgency
from buildfarm.releases.facts.words import shown
from buildfarm.releases.release import Release

_BASES_MAX = 4


class NoFactsError(NotRebasableError):
    """Too little is known of an app's files: ``why``; with ``pending`` a node is to read them."""

    why = ""
    pending = False


@dataclass(frozen=True)
class Verdict:
    """Why an app may not move, and why that is not wholly known; with ``pending`` it will be."""

    blockers: tuple[str, ...] = ()
    missing: str = ""
    pending: bool = False

    def refuse(self, name: str) -> None:
        """Raises NoFactsError if too little is known of the app."""
        if self.missing:
            error = NoFactsError(
                f"It is not known whether {name} may move: {self.missing}.",
                advice="A node reads new layers within minutes: try again then. See docs/rebase.md.",
            )
            error.why, error.pending = self.missing, self.pending
            raise error


@dataclass(frozen=True)
class FactsCheck:
    """Safe for several threads. `look` raises StoreError."""

    store: FactsStore
    _bases: OrderedDict[str, BaseFacts] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, image: str, release: Release, before: Base | None, after: Base) -> Verdict:
        """``image`` is the app's, as repository@digest. Nodes are asked for what is missing."""
        if before is None:
            return Verdict(missing="the registry no longer has the base that it is on")
        if before.digest == after.digest:
            return Verdict()
        layers = {layer.diff_id: unread(layer.blob, layer.diff_id) for layer in release.layers}
        known = self.store.get(layers)
        old, new = (self._base(base) for base in (before, after))
        if len(known) < len(layers):
            return self._unread(image)
        # Nodes have tried what they could: no app can move, and waiting does not help.
        if reason := next((base.unknown for base in (old, new) if base and base.unknown), ""):
            return Verdict(missing=f"the files of a base could not be read: {shown(reason)}")
        if old is None or new is None:
            return self._pending("the files of a base have not been read yet")
        facts = [known[layer.diff_id] for layer in release.layers]
        found = tuple(blockers(facts, old, new))
        unreadable = next((layer.unknown for layer in facts if layer.unknown), "")
        return Verdict(found, f"its files could not be read: {shown(unreadable)}" if unreadable else "")

    def differences(self, before: Base, after: Base) -> tuple[str, ...]:
        """What the base ``after`` lacks that ``before`` has, for a person to look at."""
        return differences(before, after, self._base(before), self._base(after))

    def is_read(self) -> bool:
        """Whether nodes go on reading what was asked for."""
        return self.store.progress.goes_on()

    def _unread(self, image: str) -> Verdict:
        if reason := self.store.wanted.refused(image):
            return Verdict(missing=f"its files cannot be read: {shown(reason)}")
        self.store.wanted.add(image, Urgency.APP)
        return self._pending("its files have not been read yet")

    def _pending(self, missing: str) -> Verdict:
        stopped = self.store.progress.why_stopped()
        return Verdict(missing=f"{missing}; {stopped}" if stopped else missing, pending=True)

    def _base(self, base: Base) -> BaseFacts | None:
        """None, and nodes are asked to read it, if it is not known; if a node could not read it, it says why."""
        with self._lock:
            if base.digest in self._bases:
                return self._bases[base.digest]
        layers = base_layers(base)
        known = self.store.get(layers, of_base=True)
        if len(known) < len(layers):
            if reason := self.store.wanted.refused(base.reference):
                return BaseFacts.of([LayerFacts(unknown=reason)])
            self.store.wanted.add(base.reference, Urgency.BASE)
            return None
        return self._kept(base, known, list(layers))

    def _kept(self, base: Base, known: Mapping[Digest, LayerFacts], order: Sequence[Digest]) -> BaseFacts:
        found = BaseFacts.of(known[diff_id] for diff_id in order)
        with self._lock:
            if not found.unknown:
                self._bases[base.digest] = found
            while len(self._bases) > _BASES_MAX:
                self._bases.popitem(last=False)
        return found


def base_layers(base: Base) -> dict[Digest, Unread]:
    """A base's layers by diff ID, the lowest first."""
    pairs = zip(base.manifest.layers, base.config.diff_ids, strict=True)
    return {diff_id: unread(blob, diff_id) for blob, diff_id in pairs}


def unread(blob: Descriptor, diff_id: Digest) -> Unread:
    """A layer as nodes read it."""
    return Unread(str(blob.digest), blob.size, str(diff_id))

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
from buildfarm.releases.facts.compare import blockers, shown
from buildfarm.releases.facts.layer import LayerFacts
from buildfarm.releases.facts.store import FactsStore, Unread
from buildfarm.releases.release import Release

_BASES_MAX = 4


class NoFactsError(NotRebasableError):
    """Too little is known of an app's files; with ``pending`` a node is to read them."""

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
            error.pending = self.pending
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
        bases = [self._base(base) for base in (before, after)]
        if lacking := [layer for diff_id, layer in layers.items() if diff_id not in known]:
            self.store.want(image, lacking)
            return Verdict(missing="its files have not been read yet", pending=True)
        facts = [known[layer.diff_id] for layer in release.layers]
        old, new = bases
        if old is None or new is None:
            return Verdict(missing="the files of a base have not been read yet", pending=True)
        if reason := old.unknown or new.unknown:
            return Verdict(missing=f"the files of a base could not be read: {shown(reason)}")
        found = tuple(blockers(facts, old, new))
        unreadable = next((layer.unknown for layer in facts if layer.unknown), "")
        return Verdict(found, f"its files could not be read: {shown(unreadable)}" if unreadable else "")

    def _base(self, base: Base) -> BaseFacts | None:
        with self._lock:
            if base.digest in self._bases:
                return self._bases[base.digest]
        layers = base_layers(base)
        known = self.store.get(layers, of_base=True)
        if lacking := [layer for diff_id, layer in layers.items() if diff_id not in known]:
            self.store.want(base.reference, lacking)
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

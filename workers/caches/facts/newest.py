"""Looks for images that are new: the newest of each app, and the bases that apps can stand on. One node does it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from typing import Protocol

from buildfarm.errors import NotRebasableError, RegistryError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.releases.base import read_base
from buildfarm.releases.facts.check import base_layers, unread
from buildfarm.releases.facts.layer import Unread
from buildfarm.releases.facts.store import FactsStore
from buildfarm.releases.facts.wanted import Urgency
from buildfarm.releases.shelf import read_release
from buildfarm.store.tags import tag_targets

_LOOK_SECONDS = 30.0
_FIRST_LOOK_SECONDS = 60.0  # after the node's start, which has more urgent work
_AGAIN_SECONDS = 86_400.0  # then all are looked at again, so that their facts do not expire
_LOOKED_AT_ONCE = 100
_FAILURES_MAX = 5  # of one look
_APPS = "apps/"


class Notes(Protocol):
    """Where is noted what images are made of."""

    def note(self, image: str, layers: Iterable[Digest]) -> None:
        """An image, as repository@digest. Raises what reading it raises."""

    def unreadable(self, image: str) -> None:
        """One that cannot be read."""

    def begin(self) -> None:
        """All images are about to be noted again."""

    def end(self, names: Set[str]) -> None:
        """All have been noted, and have these names."""

    def asked(self) -> Iterable[str]:
        """Names of those that are to be looked at again."""


@dataclass
class NewestImages:
    """One node's."""

    registry: Registry
    store: FactsStore
    bases: Callable[[], Iterable[str]]  # as repository@digest
    is_mine: Callable[[], bool]
    notes: Notes
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, str] = field(default_factory=dict)  # the newest image that was looked at, by repository
    _seen_since: float = -math.inf
    _left: set[str] | None = None  # of all that it looks at again, those that are still to be; None: it does not now
    _look_at: float = field(default_factory=lambda: time.monotonic() + _FIRST_LOOK_SECONDS)
    _failed: set[str] = field(default_factory=set)

    def look(self) -> None:
        """Asks for the layers of new images, now and then. Raises StoreError, and RegistryError when it has ended."""
        if self.clock() < self._look_at:
            return
        self._look_at = self.clock() + _LOOK_SECONDS
        if not self.is_mine():
            return
        for name in self.notes.asked():
            self._seen.pop(name, None)
        if is_again := self.clock() - self._seen_since > _AGAIN_SECONDS:
            self._seen, self._seen_since = {}, self.clock()
            self.notes.begin()
        bases = {base: base for base in self.bases()}
        newest = bases | {name: one for name, one in tag_targets(self.store.database).items() if is_app(name)}
        if is_again:
            self._left = set(newest)
        # Those that fail come last, so that they keep no others from being looked at.
        unseen = sorted(
            (name for name, digest in newest.items() if self._seen.get(name) != digest),
            key=lambda name: name in self._failed,
        )
        # New images come all the time, and some cannot be read: neither keeps what is gone in the lists.
        # The bases of apps that were noted have been looked at too.
        new_bases = bases.keys() & set(unseen) - self._failed
        if self._left is not None and not self._left & newest.keys() and not new_bases:
            self.notes.end(newest.keys())
            self._left = None
        if len(unseen) > _LOOKED_AT_ONCE:
            self._look_at = self.clock()
        failures: list[RegistryError] = []
        for name in unseen[:_LOOKED_AT_ONCE]:
            if self._left:
                self._left.discard(name)
            if error := self._ask_for(name if name in bases else f"{name}@{newest[name]}"):
                failures.append(error)
                self._failed.add(name)
                if len(failures) >= _FAILURES_MAX:
                    break
                continue
            self._failed.discard(name)
            self._seen[name] = newest[name]
        if failures:
            self._look_at = self.clock() + _LOOK_SECONDS
            raise failures[0]

    def _ask_for(self, image: str) -> RegistryError | None:
        try:
            layers = layers_of(self.registry, image)
            self.notes.note(image, layers)
            if self.store.lacking(layers):
                self.store.wanted.add(image, Urgency.LATER if is_app(image) else Urgency.LATER_BASE)
        except (NotInRegistryError, NotRebasableError, ValueError):
            self.notes.unreadable(image)  # it is gone, or cannot be moved anyway
        except RegistryError as error:
            return error
        return None


def layers_of(registry: Registry, image: str) -> dict[Digest, Unread]:
    """A base's layers, or an app's own ones. Raises RegistryError, NotRebasableError and ValueError."""
    repository, _, digest = image.partition("@")
    if not is_app(repository):
        return base_layers(read_base(registry, repository, Digest(digest)))
    manifest, _ = registry.read_manifest(repository, Digest(digest))
    release = read_release(registry, repository, manifest)
    return {layer.diff_id: unread(layer.blob, layer.diff_id) for layer in release.layers}


def is_app(repository: str) -> bool:
    """Whether images of this repository are an app's."""
    return repository.startswith(_APPS)

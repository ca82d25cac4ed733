"""Reads new layers of apps' newest images, and of the bases that they can stand on, beside the builds."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from buildfarm.errors import BuildfarmError, NodeStopped, NotRebasableError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.releases.base import read_base
from buildfarm.releases.facts.check import base_layers, unread
from buildfarm.releases.facts.store import FactsStore, Unread
from buildfarm.releases.shelf import read_release
from buildfarm.store.tags import tag_targets
from buildfarm.telemetry import Logger
from workers.caches.facts.inspect import inspect_layer
from workers.sandbox.pool import SandboxPool

READ_SECONDS = 2.0  # between two looks at what is wanted

_LOOK_SECONDS = 30.0  # between two looks at the newest images
_FIRST_LOOK_SECONDS = 60.0  # after the node's start, which has more urgent work
_AGAIN_SECONDS = 86_400.0  # then all are looked at again, so that their facts do not expire
_LOOKED_AT_ONCE = 100
_APPS = "apps/"


@dataclass
class FactsReader:
    """One node's. Nodes share the work; one of them, whose duty it is, looks for new images."""

    pool: SandboxPool
    registry: Registry
    store: FactsStore
    image: Callable[[], str]  # of the sandbox
    bases: Callable[[], Iterable[str]]  # that apps can stand on, as repository@digest
    is_mine: Callable[[], bool]
    is_busy: Callable[[], bool]  # whether builds run here
    has_ended: Callable[[], bool]  # whether the node ends
    log: Logger
    is_on: bool = True
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, str] = field(default_factory=dict)  # the newest image that was looked at, by repository
    _seen_since: float = 0.0
    _look_at: float = field(default_factory=lambda: time.monotonic() + _FIRST_LOOK_SECONDS)
    _rest_until: float = 0.0

    def turn(self) -> None:
        """Looks for new images, and reads the layers of one. Raises StoreError, RegistryError and NodeError."""
        if not self.is_on or self.has_ended():
            return
        if self.clock() >= self._look_at:
            self._look_at = self.clock() + _LOOK_SECONDS
            if self.is_mine():
                self._look()
        # A layer is read at the lowest priority, but builds need the disk too.
        if self.is_busy() and self.clock() < self._rest_until:
            return
        started = self.clock()
        if self.store.has_room() and (taken := self.store.take()) is not None:
            self._read(*taken)
            self._rest_until = self.clock() + (self.clock() - started)

    def _look(self) -> None:
        if self.clock() - self._seen_since > _AGAIN_SECONDS:
            self._seen, self._seen_since = {}, self.clock()
        newest = {name: digest for name, digest in tag_targets(self.store.database).items() if name.startswith(_APPS)}
        newest |= {base: base for base in self.bases()}
        unseen = [name for name, digest in newest.items() if self._seen.get(name) != digest]
        for name in unseen[:_LOOKED_AT_ONCE]:
            try:
                image = name if "@" in name else f"{name}@{newest[name]}"
                if lacking := self.store.lacking(self._layers(image)):
                    self.store.want(image, lacking)
            except (NotInRegistryError, NotRebasableError, ValueError):
                pass  # it is gone, or cannot be moved anyway
            self._seen[name] = newest[name]
        if len(unseen) > _LOOKED_AT_ONCE:
            self._look_at = self.clock()

    def _layers(self, image: str) -> dict[Digest, Unread]:
        repository, _, digest = image.partition("@")
        if not repository.startswith(_APPS):
            return base_layers(read_base(self.registry, repository, Digest(digest)))
        manifest, _ = self.registry.read_manifest(repository, Digest(digest))
        release = read_release(self.registry, repository, manifest)
        return {layer.diff_id: unread(layer.blob, layer.diff_id) for layer in release.layers}

    def _read(self, image: str, layers: list[Unread]) -> None:
        lacking = self.store.lacking({Digest(layer.diff_id): layer for layer in layers})
        try:
            if lacking:
                self._inspect(image.partition("@")[0], lacking)
        except NodeStopped:
            pass  # another node goes on when this one's hold has expired
        except NotInRegistryError:
            self.store.done(image)
        except BuildfarmError as error:
            self.log.warning("layers_not_read", image=image, reason=error.message)
            self.store.done(image)  # it is asked for again
            raise
        else:
            self.store.done(image)

    def _inspect(self, repository: str, layers: list[Unread]) -> None:
        name = f"facts-{secrets.token_hex(8)}"
        of_base = not repository.startswith(_APPS)
        with self.pool.take(name, self.image(), {}, check=self._go_on, for_build=False) as (_, sandbox):
            sandbox.cut_off()
            for layer in layers:
                started = self.clock()
                facts = inspect_layer(sandbox, self.registry, repository, layer, of_base=of_base, check=self._go_on)
                failed = bool(facts.unknown) and not (facts.needs or facts.files)
                self.store.put(Digest(layer.diff_id), facts, failed=failed)
                self.log.info(
                    "layer_read", target=repository, size_bytes=layer.size_bytes, needs=len(facts.needs),
                    seconds=round(self.clock() - started, 2), unknown=facts.unknown,
                )  # fmt: skip

    def _go_on(self) -> None:
        if self.has_ended():
            raise NodeStopped("The node ends.")

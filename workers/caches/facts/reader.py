"""Reads layers of apps' images, and of the bases that they can stand on, beside the builds: the most urgent first."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from buildfarm.errors import BuildfarmError, NodeError, NodeStopped, NotRebasableError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.releases.facts.components.store import ComponentStore
from buildfarm.releases.facts.layer import LayerFacts, Unread
from buildfarm.releases.facts.store import FactsStore
from buildfarm.releases.facts.wanted import Urgency
from buildfarm.telemetry import Logger
from workers.attempt.memory import NoMemoryError
from workers.caches.facts.inspect import NotReadError, inspect_layer
from workers.caches.facts.newest import NewestImages, is_app, layers_of
from workers.sandbox.container import Sandbox
from workers.sandbox.pool import SandboxPool

READ_SECONDS = 2.0  # between two looks at what is wanted

_RENEW_SECONDS = 60.0  # of what it holds
_TRIES_MAX = 3  # of a layer that no node could read in time; then that is what is known of it
_ILL_SECONDS = 60.0  # other nodes read meanwhile
_FULL = "nodes read none while Redis uses too much of its memory"


@dataclass
class FactsReader:
    """One node's. Nodes share the work."""

    pool: SandboxPool
    registry: Registry
    store: FactsStore
    image: Callable[[], str]  # of the sandbox
    newest: NewestImages
    is_busy: Callable[[], bool]  # whether builds run here
    has_ended: Callable[[], bool]  # whether the node ends
    log: Logger
    is_on: bool = True
    stopped: Callable[[bool], object] = bool  # is called with whether Redis lacks memory for facts
    clock: Callable[[], float] = time.monotonic
    _is_full: bool = False
    _rest_until: float = 0.0
    _ill_until: float = 0.0
    _held: str = ""  # the image that it reads
    _renew_at: float = 0.0

    def turn(self) -> None:
        """Looks for new images, and reads the layers of one. Raises StoreError, RegistryError and NodeError."""
        if not self.is_on or self.has_ended():
            return
        self.newest.look()
        now = self.clock()
        # Reading takes the processor and the disk, which builds need more.
        if now < self._ill_until or (self.is_busy() and now < self._rest_until):
            return
        room = self.store.room()
        self._tell_full(room)
        if room is not None and (image := self.store.wanted.take(room)) is not None:
            try:
                self._read(image)
            finally:
                self._rest_until = self.clock() + (self.clock() - now)

    def _tell_full(self, room: Urgency | None) -> None:
        if room is None:
            self.store.progress.stopped(_FULL)
        is_full = room is not Urgency.LATER
        self.stopped(is_full)
        if is_full and not self._is_full:
            self.log.warning("layers_not_read", reason="Redis uses half of its memory or more.")
        self._is_full = is_full

    def _read(self, image: str) -> None:
        wanted = self.store.wanted
        self._held, self._renew_at = image, self.clock() + _RENEW_SECONDS
        try:
            if self._read_layers(image):
                wanted.done(image)
            else:
                wanted.put_back(image)
        except NodeStopped:
            wanted.put_back(image)
        except NoMemoryError:  # builds have it
            self._ill_until = self.clock() + _ILL_SECONDS
            wanted.put_back(image)
        except NotReadError as error:
            self.log.warning("layers_not_read", image=image, reason=error.message)
        except NotInRegistryError:
            wanted.done(image, "the registry no longer has it")
        except NotRebasableError as error:
            wanted.done(image, error.message.removesuffix("."))
        except ValueError as error:
            wanted.done(image, str(error))
        except NodeError as error:
            self.log.warning("layers_not_read", image=image, reason=error.message)
            self._ill_until = self.clock() + _ILL_SECONDS
            wanted.put_off(image)
            raise
        except BuildfarmError as error:
            self.log.warning("layers_not_read", image=image, reason=error.message)
            wanted.put_off(image)
            raise
        finally:
            self._held = ""

    def _read_layers(self, image: str) -> bool:
        """Whether all of its layers are known now; else a build has begun."""
        layers = layers_of(self.registry, image)
        if not (lacking := self.store.lacking(layers)):
            return True
        with self._sandbox() as sandbox:
            for number, layer in enumerate(lacking):
                if number and self.is_busy():
                    return False
                self._go_on()
                if self.store.lacking({Digest(layer.diff_id): layer}):
                    self._inspect(sandbox, image, layer)
        return True

    @contextmanager
    def _sandbox(self) -> Iterator[Sandbox]:
        name = f"facts-{secrets.token_hex(8)}"
        with self.pool.take(name, self.image(), {}, check=self._go_on, for_build=False) as (_, sandbox):
            sandbox.cut_off()
            yield sandbox

    def _inspect(self, sandbox: Sandbox, image: str, layer: Unread) -> None:
        started, repository = self.clock(), image.partition("@")[0]
        of_base = not is_app(repository)
        try:
            facts = inspect_layer(
                sandbox, self.registry, repository, layer, of_base=of_base, check=self._go_on,
                keep=lambda packed: ComponentStore(self.store.database).put(layer.diff_id, packed, of_base=of_base),
            )  # fmt: skip
        except NotInRegistryError:
            facts = LayerFacts(unknown="the registry no longer has a layer")
        except NotReadError as error:
            if self.store.wanted.failed(Digest(layer.diff_id)) < _TRIES_MAX:
                self.store.wanted.put_off(image)
                raise
            facts = LayerFacts(unknown=error.message.removesuffix("."))
        failed = bool(facts.unknown) and not (facts.needs or facts.files)
        self.store.put(Digest(layer.diff_id), facts, failed=failed)
        self.log.info(
            "layer_read", target=repository, size_bytes=layer.size_bytes, needs=len(facts.needs),
            seconds=round(self.clock() - started, 2), unknown=facts.unknown,
        )  # fmt: skip

    def _go_on(self) -> None:
        if self.has_ended():
            raise NodeStopped("The node ends.")
        if self._held and self.clock() >= self._renew_at:
            self.store.wanted.hold(self._held)
            self._renew_at = self.clock() + _RENEW_SECONDS

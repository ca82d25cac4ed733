"""Reads a layer of the registry in a sandbox: without network, without a process of a tenant, and within bounds."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from buildfarm.errors import AppError, NodeError
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.oci.unpack import unpacked
from buildfarm.releases.facts.components.layer import PACKED_BYTES_MAX as COMPONENTS_BYTES_MAX
from buildfarm.releases.facts.layer import BASE_PACKED_BYTES_MAX, LayerFacts, Unread, decode
from workers.caches.facts.bundle import COMMAND, inspector_bytes
from workers.sandbox.container import Sandbox

LAYER_SECONDS = 900.0  # on a busy machine; the process has 300 s of the processor


_KILLED = 128  # and the number of the signal, such as of the limit on the processor


class NotReadError(NodeError):
    """This node could not read the layer now; another one, or this one later, may."""


class UnreadableError(Exception):
    """The layer has no facts, and would have none if it were read again; the text says why."""


@dataclass
class _Output:
    """What the inspector writes, as far as it is kept."""

    content: bytearray = field(default_factory=bytearray)

    def add(self, piece: bytes) -> None:
        self.content += piece
        if len(self.content) > BASE_PACKED_BYTES_MAX + COMPONENTS_BYTES_MAX:
            raise UnreadableError("the inspector has written too much")

    def parts(self) -> tuple[bytes, bytes]:
        """The facts and the components, each with its length in front."""
        size = int.from_bytes(self.content[:4], "big")
        return bytes(self.content[4 : 4 + size]), bytes(self.content[8 + size :])


def inspect_layer(
    sandbox: Sandbox, registry: Registry, repository: str, layer: Unread, *, of_base: bool, check: Callable[[], None],
    keep: Callable[[bytes], object] = bytes,
) -> LayerFacts:  # fmt: skip
    """The layer's facts; if its bytes cannot be read, facts that say so. What ``check`` raises ends it.

    ``keep`` gets the list of its components, as the inspector has written it.

    Raises NotReadError if it took too long or too much memory, RegistryError, and NodeError if the engine failed.
    """
    until = time.monotonic() + LAYER_SECONDS

    def go_on() -> None:
        check()
        if time.monotonic() > until:
            raise NotReadError("To read it takes too long.")

    try:
        facts, components = _read(sandbox, registry, repository, layer, check=go_on)
        keep(components)
        return decode(facts, of_base=of_base)
    except (UnreadableError, ValueError) as error:
        return LayerFacts(unknown=str(error))
    except AppError as error:  # out of memory, or silent
        raise NotReadError(error.message) from error


def _read(
    sandbox: Sandbox, registry: Registry, repository: str, layer: Unread, *, check: Callable[[], None]
) -> tuple[bytes, bytes]:
    output, total = _Output(), hashlib.sha256()
    ended = sandbox.bound(output.add, check).run(COMMAND, stdin=_pieces(registry, repository, layer, total.update))
    if ended.code > _KILLED:
        raise NotReadError(f"The inspector was killed by the signal {ended.code - _KILLED}.")
    if ended.code != 0:
        raise UnreadableError(f"the inspector ended with {ended.code}")
    if total.hexdigest() != Digest(layer.diff_id).hex:
        raise UnreadableError("its content is not that of its diff ID")
    return output.parts()


def _pieces(registry: Registry, repository: str, layer: Unread, seen: Callable[[bytes], object]) -> Iterator[bytes]:
    yield inspector_bytes()
    blob = registry.get_blob(repository, Digest(layer.digest), limit_bytes=layer.size_bytes)
    with closing(unpacked(blob)) as pieces:
        for piece in pieces:
            seen(piece)
            yield piece

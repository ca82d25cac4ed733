"""Which packs of an app are joined with new builds. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from buildfarm.oci.digest import Digest

BUILDS_MAX = 256  # of a pack: its index is read whole for a single build
BYTES_MAX = 8 * 1024 * 1024  # of its logs: they are held in memory while packs are joined
SPAN_SECONDS = 31 * 86400.0  # a pack is removed when its newest build is too old: the others wait for it
_GROWTH = 2


@dataclass(frozen=True)
class Shelved:
    """A pack in the registry, as Redis knows it: ``first`` and ``last`` are when its builds were submitted."""

    manifest: Digest
    index: Digest
    builds: int
    data_bytes: int
    first: float
    last: float

    def encode(self) -> str:
        """As Redis has it."""
        digests = f"{self.manifest.hex} {self.index.hex}"
        return f"{digests} {self.builds} {self.data_bytes} {self.first:.6f} {self.last:.6f}"

    @classmethod
    def decode(cls, text: str) -> Self:
        """Reads what `encode` made, and what a later version added to it."""
        manifest, index, builds, size, first, last = text.split(" ")[:6]
        digests = Digest(f"sha256:{manifest}"), Digest(f"sha256:{index}")
        return cls(*digests, int(builds), int(size), float(first), float(last))


def taken_in(packs: Sequence[Shelved], new: Shelved) -> list[Shelved]:
    """The packs that a new one takes in: the newest, as long as none is much larger than all that came after it.

    So a build is written again about as often as the number of builds in its pack doubles, and an app with a build an
    hour does not have a pack for each.
    """
    chosen: list[Shelved] = []
    builds, size, first, last = new.builds, new.data_bytes, new.first, new.last
    for pack in sorted(packs, key=lambda pack: pack.last, reverse=True):
        first, last = min(first, pack.first), max(last, pack.last)
        if pack.builds > _GROWTH * builds or builds + pack.builds > BUILDS_MAX:
            break
        if size + pack.data_bytes > BYTES_MAX or last - first > SPAN_SECONDS:
            break
        chosen.append(pack)
        builds, size = builds + pack.builds, size + pack.data_bytes
    return chosen

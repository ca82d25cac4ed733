"""Keeps the values of secret config vars out of an image's files.

A layer is searched in the pass that reads it anyway, as one stream. Only if a value is found, the layer is read again,
file by file: what an archive has besides its files' content, such as their names, does not count.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, TypeVar

from buildfarm.errors import CompileError, StoreError
from buildfarm.oci.digest import Digest
from buildfarm.oci.layer import Watch
from buildfarm.oci.unpack import as_file
from workers.export.needles import Needle, needles_of
from workers.export.path_rules import shown
from workers.export.search import NeedleFoundError, Search

_T = TypeVar("_T")

_PIECE_BYTES = 1024 * 1024

MakeWatch = Callable[[], Watch | None]  # for each pass over a layer
Pieces = Generator[bytes, None, None]


class Scanned(Protocol):
    """For which values an app's layers were searched before, by any node. Both raise StoreError."""

    def missing(self, repository: str, diff_id: Digest, values: Iterable[str]) -> list[str]: ...

    def add(self, repository: str, diff_id: Digest, values: Iterable[str]) -> None: ...


@dataclass(frozen=True)
class SecretScan:
    """The search of one export; ``values`` are by the names of their config vars."""

    values: Mapping[str, str] = field(default_factory=dict)
    repository: str = ""
    scanned: Scanned | None = None

    @cached_property
    def needles(self) -> tuple[Needle, ...]:
        """What is searched for; empty if no value is long enough."""
        return needles_of(self.values)

    def left(self, diff_id: Digest) -> SecretScan:
        """Return the same search without the values for which this layer was searched before."""
        if not self.needles or self.scanned is None:
            return self
        with suppress(StoreError):  # only time is lost
            missing = set(self.scanned.missing(self.repository, diff_id, self.values.values()))
            return replace(self, values={name: value for name, value in self.values.items() if value in missing})
        return self

    def passed(self, diff_id: Digest) -> None:
        """Keep that none of the values is in this layer."""
        if self.needles and self.scanned is not None:
            with suppress(StoreError):  # only time is lost
                self.scanned.add(self.repository, diff_id, self.values.values())

    def guard(self, read: Callable[[MakeWatch], _T], pieces: Callable[[], Pieces]) -> _T:
        """Return what ``read`` returns, which shows every chunk of a layer to a watch that it makes.

        ``pieces`` reads the same layer again. Raises CompileError that names the first file with a secret value.
        """
        if not self.needles:
            return read(lambda: None)
        try:
            return read(lambda: Search(self.needles).add)
        except NeedleFoundError:
            self.refuse(pieces())
        # It is in no file's content.
        return read(lambda: None)

    def refuse(self, pieces: Pieces) -> None:
        """Raises CompileError that names the first file of this tar archive with one of the values in its content."""
        with as_file(pieces) as file, tarfile.open(fileobj=file, mode="r|", errors="surrogateescape") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
                content = tar.extractfile(member) if member.isreg() else None
                search = Search(self.needles)
                try:
                    while content is not None and (piece := content.read(_PIECE_BYTES)):
                        search.add(piece)
                except NeedleFoundError as found:
                    raise _refusal(member.name, found.needle) from None


def _refusal(path: str, needle: Needle) -> CompileError:
    encoding = f" {needle.encoding}" if needle.encoding else ""
    return CompileError(
        f"The file {shown(f'/{path}')} contains the value of the secret config var {needle.name}{encoding}, "
        "and anyone with the image could read it.",
        advice="Remove the file before the build ends, or let the app read the value from its environment when it "
        "starts. If the value is public, do not mark the config var as a secret.",
    )

"""The files of one app as the exporter reads them: all of them, those of one layer, and the archive of these."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

from buildfarm.errors import TooLargeError
from buildfarm.oci.producer import produce
from buildfarm.oci.tree import Found, content_bytes
from workers.attempt.signals import Check
from workers.build_folder import Archive, BuildFolder
from workers.export.fingerprint import identity_of, shape_of
from workers.export.layering import SOURCE, PlannedLayer
from workers.export.secret_scan import SecretScan

APP_USER = 1000

_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class AppFiles:
    """What is exported, and where to.

    ``unchanged`` are folders that are file by file what an earlier build had: their paths below the root, and what
    identifies their content.
    """

    root: BuildFolder
    source_names: Set[str]
    left_out: Set[str]
    prefix: bytes  # entries of the farm's own, before the source's
    repository: str
    secrets: SecretScan
    unchanged: Mapping[str, str] = field(default_factory=dict)

    def may_close(self) -> dict[str, str]:
        """Names of unchanged folders of which nothing came in with the source, and what identifies their content."""
        named = {f"{self.root.name}/{path}": which for path, which in self.unchanged.items()}
        return {name: which for name, which in named.items() if name not in self.source_names}


@dataclass(frozen=True)
class Listed:
    """The files of a layer: how to archive them, and their shape."""

    archive: Archive
    shape: str


@dataclass(frozen=True)
class MadeFrom:
    """A planned layer: what makes it, and what it is known by."""

    origin: str
    prefix: bytes  # entries of the farm's own, before those of the archive
    identity: str
    list_files: Callable[[], Listed]  # its files are listed only if they have to be

    @classmethod
    def of(cls, app: AppFiles, layer: PlannedLayer, salt: str) -> MadeFrom:
        """From a layer all of whose files are known."""
        prefix = app.prefix if layer.origin == SOURCE else b""
        listed = Listed(app.root.archive(layer.found, owner=APP_USER), shape_of(layer.found, prefix, salt))
        return cls(layer.origin, prefix, identity_of(layer.found, prefix, salt), lambda: listed)

    @cached_property
    def _listed(self) -> Listed:
        return self.list_files()

    @property
    def archive(self) -> Archive:
        """How to archive its files. Listing them raises NodeError and TooLargeError."""
        return self._listed.archive

    @property
    def shape(self) -> str:
        """Likewise."""
        return self._listed.shape

    def pieces(self, check: Check) -> Generator[bytes, None, None]:
        """The layer as a tar stream, with a ``check`` before each piece; close it if you leave it early."""
        yield self.prefix
        with produce(self.archive.argv, self.archive.names, pipe_bytes=_PIECE_BYTES) as producer:
            while piece := producer.output.read(_PIECE_BYTES):
                check()
                yield piece


def refuse_too_large(layers: Iterable[Sequence[Found]], limit_bytes: int) -> None:
    """Before anything is sent. Raises TooLargeError."""
    # Links to one file from several layers are a file in each.
    total_bytes = sum(content_bytes(found) for found in layers)
    if total_bytes > limit_bytes:
        raise TooLargeError(
            f"The built app has {total_bytes:,} bytes, which is larger than the limit of {limit_bytes:,}.",
            advice="Leave out what it does not need when it runs.",
        )

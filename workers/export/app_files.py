"""The files of one app as the exporter reads them: all of them, those of one layer, and the archive of these."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence, Set
from dataclasses import dataclass

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
    """What is exported, and where to."""

    root: BuildFolder
    source_names: Set[str]
    left_out: Set[str]
    prefix: bytes  # entries of the farm's own, before the source's
    repository: str
    secrets: SecretScan


@dataclass(frozen=True)
class MadeFrom:
    """A planned layer: what makes it, and what it is known by."""

    origin: str
    archive: Archive
    prefix: bytes  # entries of the farm's own, before those of the archive
    shape: str
    identity: str

    @classmethod
    def of(cls, app: AppFiles, layer: PlannedLayer, salt: str) -> MadeFrom:
        prefix = app.prefix if layer.origin == SOURCE else b""
        archive = app.root.archive(layer.found, owner=APP_USER)
        prints = (fingerprint(layer.found, prefix, salt) for fingerprint in (shape_of, identity_of))
        return cls(layer.origin, archive, prefix, *prints)

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

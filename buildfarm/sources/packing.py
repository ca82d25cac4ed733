"""A directory as a packed source: the same bytes for the same content, kept by digest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from buildfarm.errors import NodeError, SourceError, TooLargeError
from buildfarm.oci.connection import MissingBlobError
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import EMPTY_CONFIG, artifact
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import Descriptor, LayerDigests, media_types
from buildfarm.oci.registry import Registry
from buildfarm.oci.tree import tar_command
from buildfarm.sources.address import ArtifactSource
from buildfarm.sources.choice import Choice, choose

ARTIFACT_TYPE = "application/vnd.buildfarm.source.v1"
# Every entry is below a folder of this name, whatever the directory is called: its name is not part of the source.
TOP = "source"

Seen = Callable[[Choice], object]
Chooser = Callable[[Path, int], Choice]  # of a directory's files, with so many bytes at most

_OWNER = 1000
_AT_HAND_BYTES = 4 * 1024 * 1024
_GZIP = b"\x1f\x8b"


def pack(
    registry: Registry,
    directory: Path,
    tenant: str,
    limit_bytes: int,
    seen: Seen | None = None,
    *,
    before_sending: Callable[[], object] = lambda: None,
    chooser: Chooser = choose,
) -> tuple[ArtifactSource, int]:
    """The directory's source in the registry, and how many bytes had to be sent for it: 0 if it was there already.

    ``chooser`` chooses its files, ``seen`` is called with them, and ``before_sending`` if there is something to send.
    Raises SourceError if there is nothing to pack, TooLargeError, and RegistryError.
    """
    repository = f"sources/{tenant}"
    digest, sent_bytes = pack_into(
        registry,
        directory,
        repository,
        ARTIFACT_TYPE,
        limit_bytes,
        seen=seen,
        before_sending=before_sending,
        chooser=chooser,
    )
    return ArtifactSource(repository=repository, digest=digest), sent_bytes


def pack_into(
    registry: Registry,
    directory: Path,
    repository: str,
    artifact_type: str,
    limit_bytes: int,
    *,
    seen: Seen | None = None,
    before_sending: Callable[[], object] = lambda: None,
    chooser: Chooser = choose,
) -> tuple[Digest, int]:
    """The directory as an artifact of this type: its manifest's digest, and how many bytes had to be sent.

    Raises as `pack` does.
    """
    # The digest is what reports whether it must be sent, so it is made once before.
    content = bytearray()
    made, stream = packed(directory, limit_bytes, seen, content, chooser=chooser)
    manifest = _manifest(made.digest, made.size_bytes, artifact_type)
    digest = Digest.of(manifest)
    if registry.has_manifest(repository, digest):
        return digest, 0
    before_sending()
    if len(content) == made.size_bytes:
        registry.put_blob(repository, bytes(content), look=False, counted=True)
    else:
        _send_again(registry, repository, directory, made, stream)
    _put(registry, repository, manifest)
    return digest, made.size_bytes


def take(
    registry: Registry,
    pieces: Iterable[bytes],
    tenant: str,
    limit_bytes: int,
    known: Callable[[int], object] = lambda size: None,
) -> tuple[ArtifactSource, int]:
    """A gzip-compressed tar archive, whose entries lie in one folder, as a source in the registry; and its size.

    ``known`` is called with the size of a source that was there already.

    Raises SourceError if it is not such an archive, TooLargeError, and RegistryError.
    """
    repository = f"sources/{tenant}"
    digest, size_bytes = registry.put_stream(repository, _bounded(pieces, limit_bytes))
    manifest = _manifest(digest, size_bytes)
    source = ArtifactSource(repository=repository, digest=Digest.of(manifest))
    if registry.has_manifest(repository, source.digest):
        known(size_bytes)
    else:
        _put(registry, repository, manifest)
    return source, size_bytes


def packed(
    directory: Path,
    limit_bytes: int,
    seen: Seen | None = None,
    content: bytearray | None = None,
    *,
    chooser: Chooser = choose,
) -> tuple[LayerDigests, Callable[[], LayerStream]]:
    """What the directory is when it is packed, and what packs it again; ``seen`` is called with the choice of files.

    ``content`` gets its first bytes, which of a small one are all. Raises SourceError and TooLargeError.
    """
    choice = chooser(directory, limit_bytes)
    if seen is not None:
        seen(choice)
    root, names = directory.resolve(), choice.names

    def stream() -> LayerStream:
        argv = tar_command(root, owner=_OWNER, names=True, top=TOP)
        return LayerStream(argv, names=(f"{root.name}/{name}" for name in names))

    with _reading(directory), stream() as made:
        for piece in made:
            if content is not None and len(content) < _AT_HAND_BYTES:
                content += piece
    return made.layer, stream


def digest_of(made: LayerDigests) -> Digest:
    """The digest of the source with this archive."""
    return Digest.of(_manifest(made.digest, made.size_bytes))


def _send_again(
    registry: Registry, repository: str, directory: Path, made: LayerDigests, stream: Callable[[], LayerStream]
) -> None:
    """What is too large to be kept at hand is packed once more while it is sent."""
    with _reading(directory):
        sent = registry.upload(repository, stream)
    if sent != made:
        raise SourceError(f"{directory} changed while it was packed.", advice="Build again when nothing writes to it.")


@contextmanager
def _reading(directory: Path) -> Iterator[None]:
    try:
        yield
    except NodeError as error:
        raise SourceError(f"{directory} changed or could not be read while it was packed: {error.message}") from error


def _bounded(pieces: Iterable[bytes], limit_bytes: int) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        if not total and not piece.startswith(_GZIP[: len(piece)]):
            raise SourceError("The source is not a gzip-compressed archive.", advice="Make it with tar -C APP -czf - .")
        total += len(piece)
        if total > limit_bytes:
            raise TooLargeError(
                f"The source is larger than {limit_bytes:,} bytes.", advice="Leave out what the build does not need."
            )
        yield piece
    if not total:
        raise SourceError("The source is empty.", advice="Make it with tar -C APP -czf - .")


def _manifest(digest: Digest, size_bytes: int, artifact_type: str = ARTIFACT_TYPE) -> bytes:
    return artifact(artifact_type, [Descriptor(media_types("oci").layers["gzip"], digest, size_bytes)])


def _put(registry: Registry, repository: str, manifest: bytes) -> None:
    media_type = media_types("oci").manifest
    try:
        registry.put_manifest(repository, manifest, media_type, tag=None)
    except MissingBlobError:  # a tenant's first source: from then on its repository has the config of all of them
        registry.put_blob(repository, EMPTY_CONFIG)
        registry.put_manifest(repository, manifest, media_type, tag=None)

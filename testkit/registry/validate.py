"""Every rule of an image as the farm makes it, checked against what the registry really keeps.

Layers are read as a stream. Where it can, the standard library unpacks them: it shares nothing with what wrote them.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import itertools
import posixpath
import tarfile
import zlib
from collections.abc import Container, Generator, Iterator
from typing import IO, cast

import zstandard

from buildfarm.oci.connection import NotInRegistryError, OtherContentError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Compression, Descriptor, ImageConfig, Manifest, layer_compression
from buildfarm.oci.registry import Registry
from buildfarm.oci.tree import MTIME_SECONDS

_PROBLEMS_MAX = 50
_CHUNK_BYTES = 1024 * 1024
_END_OF_ARCHIVE_BYTES = 1024

_UNREADABLE = (OSError, EOFError, ValueError, zlib.error, zstandard.ZstdError, tarfile.TarError)


class InvalidImageError(ValueError):
    """An image that breaks rules; ``broken`` says which, a sentence each, the first fifty of them."""

    def __init__(self, broken: tuple[str, ...]) -> None:
        super().__init__("the image is not valid: " + "; ".join(broken))
        self.broken = broken


def validate(
    registry: Registry,
    repository: str,
    digest: Digest,
    *,
    app_layers: int = 0,
    owners: Container[int] = (0,),
    sound: Container[tuple[Digest, Digest]] = (),
) -> None:
    """Raises InvalidImageError unless everything about the image is right, and RegistryError when it cannot be read.

    Rules for all layers: digests, diff ids and sizes are right, entries are unique and stay below the root, and the tar
    archive ends as it should. For the last ``app_layers`` also the farm's own: times are 1, owners are in ``owners``,
    there are only files, folders and links, and no special bits (image-spec manifest.md, config.md, layer.md).

    ``sound`` are layers, as digest and diff id, that were read before and are not read again: a builder's.
    """
    with contextlib.closing(
        _image_problems(registry, repository, digest, app_layers=app_layers, owners=owners, sound=sound)
    ) as problems:
        broken = tuple(itertools.islice(problems, _PROBLEMS_MAX))
    if broken:
        raise InvalidImageError(broken)


def _image_problems(
    registry: Registry,
    repository: str,
    digest: Digest,
    *,
    app_layers: int,
    owners: Container[int],
    sound: Container[tuple[Digest, Digest]],
) -> Generator[str, None, None]:
    try:
        media_type, content, _ = registry.get_manifest(repository, digest)
        manifest = Manifest.parse(content, media_type)
        raw_config = registry.read_blob(repository, manifest.config.digest)
        config = ImageConfig.parse(raw_config)
    except (ValueError, NotInRegistryError, OtherContentError) as error:
        yield str(error)
        return
    if len(raw_config) != manifest.config.size:
        yield f"the config has {len(raw_config)} bytes, and the manifest says {manifest.config.size}"
    if len(config.diff_ids) != len(manifest.layers):
        yield f"the config names {len(config.diff_ids)} layers, and the manifest {len(manifest.layers)}"
        return
    filled = sum(not step.get("empty_layer") for step in config.history)
    if config.history and filled != len(manifest.layers):
        yield f"the history lists {filled} layers, and the manifest names {len(manifest.layers)}"
    for number, (layer, diff_id) in enumerate(zip(manifest.layers, config.diff_ids, strict=True)):
        if (layer.digest, diff_id) in sound:
            continue
        rules = owners if number >= len(manifest.layers) - app_layers else None
        for problem in _layer_problems(registry, repository, layer, diff_id, rules):
            yield f"layer {number}: {problem}"


def _layer_problems(
    registry: Registry, repository: str, layer: Descriptor, diff_id: Digest, owners: Container[int] | None
) -> Iterator[str]:
    """``owners`` is None for a layer that is not the farm's own."""
    try:
        compression = layer_compression(layer.media_type)
        with contextlib.closing(registry.get_blob(repository, layer.digest, limit_bytes=layer.size)) as chunks:
            blob = _ChunkReader(chunks)
            raw = _Tally(_decompressed(blob, compression))
            yield from _archive_problems(raw, owners)
            while raw.read(_CHUNK_BYTES):
                pass
    except (NotInRegistryError, OtherContentError, *_UNREADABLE) as error:
        yield str(error)
        return
    if blob.size_bytes != layer.size:
        yield f"it has {blob.size_bytes} bytes, and the manifest says {layer.size}"
    if raw.hash.hexdigest() != diff_id.hex:
        yield f"its content is sha256:{raw.hash.hexdigest()}, and the config says {diff_id}"


def _archive_problems(raw: _Tally, owners: Container[int] | None) -> Iterator[str]:
    seen: set[str] = set()
    with tarfile.open(fileobj=cast("IO[bytes]", raw), mode="r|") as archive:
        while (entry := archive.next()) is not None:
            # The module keeps every entry it has read, which is not needed here.
            archive.members = []  # type: ignore[attr-defined]
            path = posixpath.normpath(entry.name)
            if entry.name.startswith("/") or ".." in entry.name.split("/"):
                yield f"{entry.name!r} leads out of the image"
            if path in seen:
                yield f"{entry.name!r} is there twice"
            seen.add(path)
            if owners is not None:
                yield from _farm_problems(entry, owners)
        while raw.read(_CHUNK_BYTES):
            pass
        # The module takes a broken header for the end, so what follows the end must be looked at.
        if raw.zeros_from > archive.offset:
            yield f"there is something behind its last entry, at byte {archive.offset}"
        if raw.size_bytes < archive.offset + _END_OF_ARCHIVE_BYTES:
            yield "it stops without an end-of-archive"


def _farm_problems(entry: tarfile.TarInfo, owners: Container[int]) -> Iterator[str]:
    if not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk()):
        yield f"{entry.name!r} is neither file nor folder nor link"
    if entry.mtime != MTIME_SECONDS:
        yield f"{entry.name!r} has the time {entry.mtime}"
    if entry.uid not in owners or entry.gid not in owners or entry.uname or entry.gname:
        yield f"{entry.name!r} belongs to {entry.uid}:{entry.gid} {entry.uname}:{entry.gname}"
    if entry.mode & 0o7000:
        yield f"{entry.name!r} has the mode {entry.mode:o}"


def _decompressed(blob: _ChunkReader, compression: Compression) -> IO[bytes]:
    match compression:
        case "gzip":
            return cast("IO[bytes]", gzip.GzipFile(fileobj=blob, mode="rb"))
        case "zstd":
            return cast(
                "IO[bytes]",
                zstandard.ZstdDecompressor().stream_reader(cast("IO[bytes]", blob), read_across_frames=True),
            )
        case "none":
            return cast("IO[bytes]", blob)


class _ChunkReader(io.RawIOBase):
    """Chunks as a file to read from, counted."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.size_bytes = 0
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
            self.size_bytes += len(self._rest)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class _Tally:
    """A file that hashes what is read from it, and knows from where on there were only zeros."""

    def __init__(self, file: IO[bytes]) -> None:
        self.size_bytes = 0
        self.zeros_from = 0
        self.hash = hashlib.sha256()
        self._file = file

    def read(self, count: int) -> bytes:
        chunk = self._file.read(count)
        if filled := len(chunk.rstrip(b"\0")):
            self.zeros_from = self.size_bytes + filled
        self.size_bytes += len(chunk)
        self.hash.update(chunk)
        return chunk

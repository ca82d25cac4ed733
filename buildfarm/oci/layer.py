"""A layer on its way: produced, hashed, compressed and handed on chunk by chunk, never held as a whole.

    tar ──pipe──> chunks of 1 MiB ──> sha256 of the raw stream (one thread, in order)
                                 └──> compressed members (several threads) ──> in order, to whoever iterates

Whoever iterates also drives: the next chunk is read from the pipe only when one was taken. A slow consumer slows tar
down through the pipe, and one that stops stops everything; memory is a fixed number of chunks, whatever the size.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import zstandard
from isal import igzip

from buildfarm.errors import InternalError, TooLargeError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Compression, LayerDigests
from buildfarm.oci.producer import Producer, produce

_T = TypeVar("_T")

_CHUNK_BYTES = 1024 * 1024

# Enough for the compressing threads to find work while the consumer sends. What they hold is at most twice as many MiB.
_CHUNKS_IN_FLIGHT_MAX = 8


class NotExhaustedError(InternalError):
    """A stream's digests were asked for before its last chunk was taken."""


class LayerStream:
    """A layer as an iterable of compressed chunks; a context manager that leaves no process and no thread behind.

    ``argv`` is a command that writes a tar archive to its standard output (`tree.tar_command`). ``prefix`` are tar
    bytes that come before it (`tree.header_entries`). ``names`` go to its standard input, each with a NUL behind it.
    ``threads`` compress.

    Iterating raises TooLargeError when the uncompressed stream crosses ``limit_bytes``, and NodeError when the command
    fails or complains: a file that changed or vanished while it was read makes a layer nobody asked for.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        prefix: bytes = b"",
        names: Iterable[str] | None = None,
        compression: Compression = "gzip",
        limit_bytes: int | None = None,
        threads: int = 2,
    ) -> None:
        self._argv = argv
        self._prefix = prefix
        self._names = names
        self._compress = _COMPRESS[compression]
        self._limit_bytes = limit_bytes
        self._threads = threads
        self._layer: LayerDigests | None = None
        self._chunks = self._run()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Closing a generator ends it where it stands: its own with-blocks stop the process and join the threads.
        self._chunks.close()

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    @property
    def layer(self) -> LayerDigests:
        """What the stream was; raises NotExhaustedError until the last chunk was taken."""
        if self._layer is None:
            raise NotExhaustedError("A layer's digests are known only when all of it was read.")
        return self._layer

    def _run(self) -> Generator[bytes, None, None]:
        raw, packed = _Tally(), _Tally()
        # Left from the last to the first: the threads end their few chunks, and then the process is stopped.
        with (
            produce(self._argv, self._names, pipe_bytes=_CHUNK_BYTES) as producer,
            ThreadPoolExecutor(1, "layer-hash") as hashing,
            ThreadPoolExecutor(self._threads, "layer-compress") as compressing,
        ):
            in_work = (
                (hashing.submit(raw.add, chunk), compressing.submit(self._compress, chunk))
                for chunk in self._raw_chunks(producer)
            )
            for hashed, compressed in _ahead(in_work, _CHUNKS_IN_FLIGHT_MAX):
                hashed.result()
                piece = compressed.result()
                packed.add(piece)
                if piece:
                    yield piece
        self._layer = LayerDigests(packed.digest, raw.digest, packed.size_bytes, raw.size_bytes)

    def _raw_chunks(self, producer: Producer) -> Iterator[bytes]:
        """The uncompressed stream in pieces of about a chunk; at least one, as even an empty gzip file has a header."""
        read = partial(producer.output.read, _CHUNK_BYTES)
        total_bytes = 0
        for chunk in itertools.chain([self._prefix + read()], iter(read, b"")):
            total_bytes += len(chunk)
            if self._limit_bytes is not None and total_bytes > self._limit_bytes:
                raise TooLargeError(
                    f"The built app is larger than {self._limit_bytes:,} bytes.",
                    advice="Leave out what it does not need when it runs.",
                )
            yield chunk
        producer.finish()


def hash_raw(
    argv: Sequence[str],
    *,
    prefix: bytes = b"",
    names: Iterable[str] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Digest:
    """The diff ID that a `LayerStream` of the same arguments has; a third of its time.

    Raises NodeError likewise, and what ``check`` raises, which is called for each chunk.
    """
    raw = _Tally()
    raw.add(prefix)
    with produce(argv, names, pipe_bytes=_CHUNK_BYTES) as producer:
        for chunk in iter(partial(producer.output.read, _CHUNK_BYTES), b""):
            check()
            raw.add(chunk)
        producer.finish()
    return raw.digest


class _Tally:
    """Length and SHA-256 of what went by."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._hash = hashlib.sha256()

    def add(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        self._hash.update(chunk)

    @property
    def digest(self) -> Digest:
        return Digest(f"sha256:{self._hash.hexdigest()}")


def _ahead(items: Iterable[_T], count: int) -> Iterator[_T]:
    """The same items in the same order, with up to ``count`` of them taken before the first is given out."""
    waiting: deque[_T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) == count:
            yield waiting.popleft()
    yield from waiting


def _gzip(chunk: bytes) -> bytes:
    # Each chunk is a member of its own: members may be made side by side, and one behind the other are a gzip file
    # (RFC 1952, section 2.2). ISA-L's level 1 takes a sixth of zlib's time for a sixth more bytes.
    packed: bytes = igzip.compress(chunk, 1, mtime=0)
    return packed


def _zstd(chunk: bytes) -> bytes:
    # Likewise a frame of its own (RFC 8878, section 3). Docker engines before 23.0 cannot unpack it.
    return zstandard.compress(chunk, level=1)


def _none(chunk: bytes) -> bytes:
    return chunk


_COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {"gzip": _gzip, "zstd": _zstd, "none": _none}

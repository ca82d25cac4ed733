"""A layer on its way: produced, hashed, compressed and handed on chunk by chunk, never held as a whole.

    tar ──pipe──> buffers of 1 MiB ──> sha256 of the raw stream (one thread, in order)
                                  └──> compressed members (several threads) ──> in order, to the iterating code

The iterating code also drives: a buffer is filled from the pipe again only when what was made of it was taken. A slow
consumer slows tar down through the pipe, and one that stops stops everything; memory is a fixed set of buffers,
whatever the size.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import IO, Protocol, Self, TypeVar

import zstandard
from isal import isal_zlib

from buildfarm.errors import InternalError, TooLargeError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Compression, LayerDigests
from buildfarm.oci.producer import Producer, produce

_T = TypeVar("_T")

Watch = Callable[[bytes | memoryview], None]  # sees each chunk of a raw stream in its order, and may raise to end it

_CHUNK_BYTES = 1024 * 1024

# Enough for the compressing threads to find work while the consumer sends. With what is made of them they hold at most
# twice as many MiB.
_BUFFERS = 8

# A compressor is fed so much at once. Its output grows in blocks up to about this size: larger ones would come from the
# kernel and go back to it each time (mmap), which cost a third of the processor time of an export.
_PIECE_BYTES = 64 * 1024

# What `_Gzip` flushes separately.
_FLUSHED_BYTES = 16


class NotExhaustedError(InternalError):
    """A stream's digests were asked for before its last chunk was taken."""


class LayerStream:
    """A layer as an iterable of compressed chunks; a context manager that leaves no process and no thread behind.

    ``argv`` is a command that writes a tar archive to its standard output (`tree.tar_command`). ``prefix`` are tar
    bytes that come before it (`tree.header_entries`). ``names`` go to its standard input, each with a NUL behind it.
    ``threads`` compress. ``thorough`` makes gzip six times slower and its output a sixth smaller: for what is made once
    and moved often. ``watch`` is called in another thread, and before what became of its chunk is given out.

    Iterating raises TooLargeError when the uncompressed stream crosses ``limit_bytes``, and NodeError when the command
    fails or complains: a file that changed or vanished while it was read would make a wrong layer. What ``watch``
    raises ends it too.
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
        thorough: bool = False,
        watch: Watch | None = None,
    ) -> None:
        self._argv = argv
        self._prefix = prefix
        self._names = names
        self._make = _thorough_gzip if thorough and compression == "gzip" else _COMPRESSORS[compression]
        self._limit_bytes = limit_bytes
        self._threads = threads
        self._watch = watch
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
        raw, packed = _Tally(self._watch), _Tally()
        free = deque(bytearray(_CHUNK_BYTES) for _ in range(_BUFFERS))
        # Left from the last to the first: the threads end their few chunks, and then the process is stopped.
        with (
            produce(self._argv, self._names, pipe_bytes=_CHUNK_BYTES) as producer,
            ThreadPoolExecutor(1, "layer-hash") as hashing,
            ThreadPoolExecutor(self._threads, "layer-compress") as compressing,
        ):
            in_work = (
                (buffer, hashing.submit(raw.add, chunk), compressing.submit(_member, self._make, chunk))
                for buffer, chunk in self._filled(producer, free)
            )
            for buffer, hashed, compressed in _ahead(in_work, _BUFFERS):
                hashed.result()
                piece = compressed.result()
                free.append(buffer)
                packed.add(piece)
                if piece:
                    yield piece
        self._layer = LayerDigests(packed.digest, raw.digest, packed.size_bytes, raw.size_bytes)

    def _filled(self, producer: Producer, free: deque[bytearray]) -> Iterator[tuple[bytearray, memoryview]]:
        """Free buffers, and what of the stream is in each; at least one, as even an empty gzip file has a header."""
        total_bytes = 0
        for buffer, chunk in _chunks([io.BytesIO(self._prefix), producer.output], free):
            total_bytes += len(chunk)
            if self._limit_bytes is not None and total_bytes > self._limit_bytes:
                raise TooLargeError(
                    f"The built app is larger than {self._limit_bytes:,} bytes.",
                    advice="Leave out what it does not need when it runs.",
                )
            yield buffer, chunk
        producer.finish()


def hash_raw(
    argv: Sequence[str],
    *,
    prefix: bytes = b"",
    names: Iterable[str] | None = None,
    check: Callable[[], None] = lambda: None,
    watch: Watch | None = None,
) -> Digest:
    """The diff ID that a `LayerStream` of the same arguments has; a third of its time.

    Raises NodeError likewise, and what ``check`` and ``watch`` raise, which are called for each chunk.
    """
    raw = _Tally(watch)
    free = deque([bytearray(_CHUNK_BYTES)])
    with produce(argv, names, pipe_bytes=_CHUNK_BYTES) as producer:
        for buffer, chunk in _chunks([io.BytesIO(prefix), producer.output], free):
            check()
            raw.add(chunk)
            free.append(buffer)
        producer.finish()
    return raw.digest


class _Tally:
    """Length and SHA-256 of what went by."""

    def __init__(self, watch: Watch | None = None) -> None:
        self.size_bytes = 0
        self._hash = hashlib.sha256()
        self._watch = watch

    def add(self, chunk: bytes | memoryview) -> None:
        self.size_bytes += len(chunk)
        self._hash.update(chunk)
        if self._watch is not None:
            self._watch(chunk)

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


def _chunks(sources: Iterable[IO[bytes]], free: deque[bytearray]) -> Iterator[tuple[bytearray, memoryview]]:
    """What the sources hold one after another, in buffers taken from ``free``, each full but for the last."""
    waiting = deque(sources)
    first = True
    while waiting:
        buffer = free.popleft()
        view = memoryview(buffer)
        filled = 0
        while waiting and filled < len(view):
            count = waiting[0].readinto(view[filled:])  # type: ignore[attr-defined]
            filled += count
            if not count:
                waiting.popleft()
        if filled or first:
            yield buffer, view[:filled]
        first = False


class _Compressor(Protocol):
    def compress(self, data: memoryview, /) -> bytes: ...

    def flush(self) -> bytes: ...


def _member(make: Callable[[], _Compressor], chunk: memoryview) -> bytes:
    """The chunk as its own compressed file: some may be made side by side, and one after another are one."""
    compressor = make()
    pieces = [compressor.compress(chunk[at : at + _PIECE_BYTES]) for at in range(0, len(chunk), _PIECE_BYTES)]
    return b"".join([*pieces, compressor.flush()])


class _Gzip:
    """A gzip member without a time in its header (RFC 1952, section 2.2), the same bytes for the same input.

    ISA-L's level 1 takes a sixth of zlib's time for a sixth more bytes. As long as a stream has no history, its main
    loop (igzip_icf_body_h1_gr_bt.asm, .write_first_byte) hashes the stream's address instead of the third byte, and
    the output sometimes depends on that address. Flushing the first bytes separately keeps it off that path, because
    a flush compresses them in another loop.
    """

    def __init__(self) -> None:
        # The window of 31 asks for a gzip header (zlib.h, deflateInit2).
        self._stream = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
        self._has_history = False

    def compress(self, data: memoryview, /) -> bytes:
        if self._has_history:
            packed: bytes = self._stream.compress(data)
            return packed
        self._has_history = True
        first = self._stream.compress(data[:_FLUSHED_BYTES]) + self._stream.flush(isal_zlib.Z_SYNC_FLUSH)
        return bytes(first + self._stream.compress(data[_FLUSHED_BYTES:]))

    def flush(self) -> bytes:
        packed: bytes = self._stream.flush()
        return packed


def _thorough_gzip() -> _Compressor:
    return zlib.compressobj(9, zlib.DEFLATED, 31)


def _zstd() -> _Compressor:
    # A frame (RFC 8878, section 3). Docker engines before 23.0 cannot unpack it.
    return zstandard.ZstdCompressor(level=1).compressobj()


class _Plain:
    """No compression: what goes in comes out."""

    def compress(self, data: memoryview, /) -> bytes:
        return bytes(data)

    def flush(self) -> bytes:
        return b""


_COMPRESSORS: dict[Compression, Callable[[], _Compressor]] = {"gzip": _Gzip, "zstd": _zstd, "none": _Plain}

"""What a layer was compressed with, it can be read back from, in any pieces."""

from __future__ import annotations

import os
import sys

import pytest

from buildfarm.errors import RegistryError
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.unpack import unpacked

CODE = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 20000)"
RAW = bytes(range(256)) * 20000  # several chunks, so several gzip members or frames


def packed(compression):
    with LayerStream([sys.executable, "-c", CODE], compression=compression) as stream:
        return b"".join(stream)


def pieces(data, size):
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("size", [1000, 10_000_000])
def test_every_compression_is_undone(compression, size):
    assert b"".join(unpacked(pieces(packed(compression), size))) == RAW


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_damaged_layer_is_a_fault_of_the_registry(compression):
    data = bytearray(packed(compression))
    data[len(data) // 2 :] = os.urandom(len(data) - len(data) // 2)
    with pytest.raises(RegistryError, match="cannot be unpacked"):
        list(unpacked(pieces(bytes(data), 1000)))


def test_leaving_early_closes_what_it_reads_from():
    closed = []

    def endless():
        try:
            while True:
                yield b"x" * 1000
        finally:
            closed.append(True)

    stream = unpacked(endless())
    next(stream)
    stream.close()
    assert closed == [True]

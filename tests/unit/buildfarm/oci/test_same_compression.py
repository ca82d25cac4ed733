"""The same input gives the same gzip bytes, wherever in memory the compressor is.

Without history, ISA-L's level 1 puts the third position of a stream into the hash bucket of the stream's address. Here
the input is crafted for one compressor's address: its bytes 2 to 5 have that bucket, and return later. One compressor
then finds a match there that another one does not.
"""

from __future__ import annotations

import gzip
import platform
import random

import pytest
from isal import isal_zlib

from buildfarm.oci.layer import _Gzip, _member

PAIRS = 300
POLYNOMIAL = 0x82F63B78  # CRC-32C, reflected: what the processor's instruction computes
BUCKETS = 8192
STREAM_OFFSET = 48  # of the stream in a compressor object


class Plain:
    """ISA-L without the separate flush."""

    def __init__(self):
        self._stream = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
        self.compress, self.flush = self._stream.compress, self._stream.flush


def crc(word):
    for _ in range(32):
        word = word >> 1 ^ (POLYNOMIAL if word & 1 else 0)
    return word


def word_with(crc_of_word):
    """The inverse of `crc`."""
    word = crc_of_word
    for _ in range(32):
        word = (word ^ POLYNOMIAL) << 1 | 1 if word >> 31 else word << 1
    return word


def bucket(compressor):
    return crc((id(compressor._stream) + STREAM_OFFSET) >> 16 & 0xFFFFFFFF) % BUCKETS


def two_compressors(make):
    """At addresses with different buckets; the others keep their memory, so that the next one is somewhere else."""
    made = [make()]
    while bucket(made[0]) == bucket(made[-1]):
        made.append(make())
    return made[0], made[-1]


def crafted(found, before, source):
    string = word_with(source.getrandbits(19) << 13 | found).to_bytes(4, "little")
    return before + string + source.randbytes(594) + string + source.randbytes(80_000)


def different_pairs(make, start):
    different = 0
    for seed in range(PAIRS):
        source = random.Random(seed)
        one, other = two_compressors(make)
        content = memoryview(crafted(bucket(one), source.randbytes(start), source))
        packed = [_member(lambda made=made: made, content) for made in (one, other)]
        assert {gzip.decompress(data) for data in packed} == {bytes(content)}
        different += packed[0] != packed[1]
    return different


def test_a_word_is_found_by_its_crc():
    assert all(crc(word_with(value)) == value for value in (0, 1, 0x80000000, 0xDEADBEEF))


@pytest.mark.parametrize("start", [2, 16, 18], ids=["third byte", "first after the flush", "third after the flush"])
def test_crafted_input_is_compressed_to_the_same_bytes(start):
    assert different_pairs(_Gzip, start) == 0


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the fault is in ISA-L's assembly for x86")
def test_without_the_flush_crafted_input_is_compressed_to_different_bytes():
    assert different_pairs(Plain, 2) > PAIRS // 2


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 64 * 1024 + 1])
def test_any_length_comes_back(size):
    content = random.Random(size).randbytes(size)
    assert gzip.decompress(_member(_Gzip, memoryview(content))) == content

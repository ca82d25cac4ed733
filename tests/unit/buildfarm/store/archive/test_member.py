"""Gzip members of the archive, whichever program packed them."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.store.archive.member import compress, compressed, unpacked

TEXT = b"".join(b"line %d of a log\n" % number for number in range(50_000))


@given(st.lists(st.binary(max_size=2000)))
def test_what_was_packed_in_pieces_is_unpacked(pieces):
    member = b"".join(compressed(pieces))
    assert b"".join(unpacked(member)) == gzip.decompress(member) == b"".join(pieces)


@pytest.mark.parametrize("pack", [compress, gzip.compress])
def test_what_zlib_packed_is_unpacked(pack):
    assert b"".join(unpacked(pack(TEXT))) == TEXT


def test_an_index_has_neither_name_nor_time():
    flags, *time = compress(TEXT)[3:8]
    assert (flags, time) == (0, [0, 0, 0, 0])


def test_what_follows_a_member_is_left_alone():
    assert b"".join(unpacked(compress(b"first") + compress(b"second"))) == b"first"


@pytest.mark.parametrize("at", [0, 12, 1000, -9, -8, -1])
def test_a_member_with_another_byte_is_damaged(at):
    member = bytearray(b"".join(compressed([TEXT])))
    member[at] ^= 0xFF
    with pytest.raises(ValueError, match=r"damaged|cut off"):
        list(unpacked(bytes(member)))


@pytest.mark.parametrize("size", [0, 5, 10, 1000, -8, -1])
def test_a_member_that_was_cut_off_is_named_so(size):
    with pytest.raises(ValueError, match="cut off"):
        list(unpacked(compress(TEXT)[:size]))


def test_a_small_member_with_a_large_content_comes_in_pieces_up_to_the_limit():
    member = b"".join(compressed([bytes(10_000_000)]))
    assert max(map(len, unpacked(member))) <= 256 * 1024
    with pytest.raises(ValueError, match="over 1,000,000 bytes"):
        list(unpacked(member, 1_000_000))

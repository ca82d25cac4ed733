"""Text files in the encodings that editors and shells save them in."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.sources.text import decode_text

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\0\ufeff"))


@given(TEXT, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]), st.sampled_from(["\n", "\r\n"]))
def test_the_same_text_is_read_from_every_encoding_and_kind_of_line(text, encoding, newline):
    assert decode_text(text.replace("\n", newline).encode(encoding)) == text


@given(st.binary())
def test_any_bytes_are_read_or_refused_and_nothing_else(content):
    try:
        text = decode_text(content)
    except ValueError as error:
        assert str(error).startswith("is ")
        return
    assert "\r" not in text
    text.encode()


@pytest.mark.kind("text files")
@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + b"web: ok\r\n",
        "web: ok\r\n".encode("utf-16"),
        codecs.BOM_UTF16_BE + "web: ok\n".encode("utf-16-be"),
        "web: ok\n".encode("utf-16-le"),
        b"web: ok\r",
    ],
    ids=[
        "UTF-8 with a mark, CRLF",
        "UTF-16 of PowerShell",
        "UTF-16, big end first",
        "UTF-16 without a mark",
        "CR alone",
    ],
)
def test_a_text_is_read_whatever_saved_it(content, record_property):
    assert decode_text(content) == "web: ok\n"
    record_property("seen", "read as 'web: ok'")


@pytest.mark.kind("text files")
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"web: a\n# caf\xe9\n", "is not UTF-8: line 2 has the byte 0xE9"),
        (codecs.BOM_UTF16_LE + b"w\0e\0b", "is UTF-16, and is cut off or damaged"),
    ],
    ids=["Windows-1252", "half a character of UTF-16"],
)
def test_another_encoding_is_refused_by_name(content, told, record_property):
    with pytest.raises(ValueError, match=told):
        decode_text(content)
    record_property("seen", told)

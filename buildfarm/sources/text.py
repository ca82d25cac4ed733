"""Text files as people save them: UTF-8 or UTF-16, with or without a byte order mark, with any ends of lines. Pure."""

from __future__ import annotations

import codecs

# UTF-32's marks begin with those of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)


def decode_text(content: bytes) -> str:
    """Return a file's text without a byte order mark, each of its lines ended by a line feed.

    Raises ValueError, whose text completes "The FILE …", if it is in another encoding or is cut off.
    """
    codec, encoding = _encoding_of(content)
    try:
        text = content.decode(codec).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(_sentence(content, encoding, error)) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def has_mark(content: bytes) -> bool:
    """Whether a file begins with a byte order mark."""
    return content.startswith((codecs.BOM_UTF8, *(mark for mark, _, _ in _MARKS)))


def _encoding_of(content: bytes) -> tuple[str, str]:
    for mark, codec, encoding in _MARKS:
        if content.startswith(mark):
            return codec, encoding
    # Without a mark, a NUL in every other byte is UTF-16 of a Latin text.
    even, odd = content[::2].count(0), content[1::2].count(0)
    if odd > len(content) // 4 and not even:
        return "utf-16-le", "UTF-16"
    if even > len(content) // 4 and not odd:
        return "utf-16-be", "UTF-16"
    return "utf-8", "UTF-8"


def _sentence(content: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    if encoding != "UTF-8":
        return f"is {encoding}, and is cut off or damaged"
    line = content.count(b"\n", 0, error.start) + 1
    return f"is not UTF-8: line {line} has the byte 0x{content[error.start]:02X}"

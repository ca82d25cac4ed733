"""ICU's data as it is in one array of bytes, the package of named items "CmnD" (icu4c/source/common/ucmndata.h).

A header, the number of items, for each the offsets of its name and of its content, both from that number on, then names
and contents. Items are sorted by name and found by bisection.
"""

import struct
from fnmatch import fnmatchcase

from problem import Problem

ALIGNMENT = 16  # of each item, as ICU requires


def wanted(name: str, patterns: list[str]) -> bool:
    """Whether an item is named; a star stands for no ``/``, and what is before the first one is ICU's version."""
    parts = name.split("/")[1:]
    return any(
        len(parts) == len(pattern.split("/"))
        and all(fnmatchcase(part, piece) for part, piece in zip(parts, pattern.split("/"), strict=True))
        for pattern in patterns
    )


def read_package(package: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The header as it is, and the items by name."""
    size, magic = struct.unpack_from("<H2s", package)
    if magic != b"\xda\x27" or package[12:16] != b"CmnD":
        raise Problem("ICU's data is not a package of items.")
    body = memoryview(package)[size:]
    (count,) = struct.unpack_from("<I", body)
    offsets = list(struct.iter_unpack("<II", body[4 : 4 + 8 * count]))
    ends = [content for _, content in offsets[1:]] + [len(body)]
    items = {}
    for (name, start), end in zip(offsets, ends, strict=True):
        text = bytes(body[name : name + 200]).partition(b"\0")[0].decode()
        items[text] = bytes(body[start:end])
    return package[:size], items


def write_package(head: bytes, items: dict[str, bytes]) -> bytes:
    """The opposite of `read_package`."""
    names, entries, contents = bytearray(), [], bytearray()
    first = 4 + 8 * len(items)
    after = first + sum(len(name) + 1 for name in items)
    after += -(len(head) + after) % ALIGNMENT
    for name, content in sorted(items.items()):
        entries.append((first + len(names), after + len(contents)))
        names += name.encode() + b"\0"
        contents += content + bytes(-len(content) % ALIGNMENT)
    table = b"".join(struct.pack("<II", *entry) for entry in entries)
    body = struct.pack("<I", len(items)) + table + names
    return head + body + bytes(after - len(body)) + contents

"""What programs carry about themselves: Go's build information, cargo-auditable's list, and versions of runtimes."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import IO, Any

from elftools.elf.elffile import ELFFile

from workers.caches.facts.inspector.components.found import Component, DamagedError, component, each, read_json

_GO_MAGIC = b"\xff Go buildinf:"
_GO_BYTES_MAX = 4 * 1024 * 1024
_RUST_BYTES_MAX = 8 * 1024 * 1024
_MODULES_MAX = 20_000
_PIECE_BYTES = 1 << 20
_RUNTIMES = {  # the first of the named programs: what its text names as its version
    "node": re.compile(rb"node\.js/v(\d+\.\d+\.\d+)"),
    "deno": re.compile(rb"Deno/([1-9]\d*\.\d+\.\d+)"),
}
_RUNTIME_PATH = re.compile(r"^(?:app|layers)/.*bin/(node|deno)$")


def read(file: IO[bytes], path: str) -> Iterator[Component | DamagedError]:
    """The modules, crates and runtime of an ELF file. Raises DamagedError, and what pyelftools raises."""
    if runtime := _RUNTIME_PATH.search(path):
        yield from _runtime(file, runtime[1])
    elf = ELFFile(file)
    if (section := elf.get_section_by_name(".go.buildinfo")) is not None and section["sh_size"] <= _GO_BYTES_MAX:
        yield from _go(elf, section.data())
    if (section := elf.get_section_by_name(".dep-v0")) is not None and section["sh_size"] <= _RUST_BYTES_MAX:
        yield from _rust(section.data())


def _go(elf: Any, content: bytes) -> Iterator[Component]:
    """Source: Go's `debug/buildinfo`. From Go 1.18 on two texts follow the header of 32 bytes."""
    at = content.find(_GO_MAGIC)
    if at < 0 or len(content) < at + 32:
        return
    if not content[at + 15] & 2:
        raise DamagedError("it was built by Go before 1.18, which is not read")
    version, at = _text(content, at + 32)
    modules, _ = _text(content, at)
    if found := re.match(rb"go(\d[\w.]*)", version):
        yield component("golang", "stdlib", found[1].decode())
    lines = modules[16:-16].decode(errors="replace").splitlines()[:_MODULES_MAX]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        parts = line.split("\t")
        # A replaced module is not in the program, and "(devel)" is the app itself.
        if parts[0] in ("mod", "dep") and not following.startswith("=>\t") and parts[2:] and parts[2] != "(devel)":
            yield component("golang", parts[1], parts[2])
    for line in lines:
        parts = line.split("\t")
        if parts[0] == "=>" and len(parts) >= 3 and parts[2]:
            yield component("golang", parts[1], parts[2])


def _text(content: bytes, at: int) -> tuple[bytes, int]:
    """A text after its length, a varint as encoding/binary has it."""
    length = shift = 0
    while True:
        if at >= len(content) or shift > 35:
            raise DamagedError("its build information is cut off")
        length |= (content[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if content[at - 1] < 0x80:
            break
    if at + length > len(content):
        raise DamagedError("its build information is cut off")
    return content[at : at + length], at + length


def _rust(content: bytes) -> Iterator[Component | DamagedError]:
    """Source: rust-secure-code's cargo-auditable, PARSING.md: JSON, compressed by zlib."""
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(content, _RUST_BYTES_MAX)
    told = read_json(text) if unpacker.eof else None
    listed = told.get("packages") if isinstance(told, dict) else None
    if not isinstance(listed, list) or len(listed) > _MODULES_MAX:
        raise DamagedError("its list of crates cannot be read")
    crates = [one for one in listed if isinstance(one, dict) and one.get("kind", "runtime") == "runtime"]
    yield from each(lambda one: component("cargo", one.get("name"), one.get("version")), crates)


def _runtime(file: IO[bytes], name: str) -> Iterator[Component]:
    """As syft's classifiers find the version: by a text that the program has."""
    file.seek(0)
    before = b""
    while piece := file.read(_PIECE_BYTES):
        if found := _RUNTIMES[name].search(before + piece):
            yield component("generic", name, found[1].decode())
            break
        before = piece[-64:]
    file.seek(0)

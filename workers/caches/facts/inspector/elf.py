"""What an ELF file needs of shared libraries, and what it brings, by the rules of rpm's ``elfdeps``.

A file needs the name (soname) of each DT_NEEDED, and each version of `.gnu.version_r` that is not weak. It brings its
DT_SONAME and each version of `.gnu.version_d`. Source: rpm's elfdeps(1), and the System V ABI.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO, Any

from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection
from elftools.elf.segments import InterpSegment

from workers.caches.facts.inspector.loadable import is_loadable

MAGIC = b"\x7fELF"
HEADER_BYTES = 64  # a shorter file cannot be loaded
NAME_CHARS_MAX = 200
_MACHINES = {
    "EM_X86_64": "x86_64", "EM_AARCH64": "aarch64", "EM_386": "i386", "EM_ARM": "arm", "EM_RISCV": "riscv",
    "EM_S390": "s390", "EM_PPC64": "ppc64",
}  # fmt: skip
_WEAK, _BASE = 0x2, 0x1  # VER_FLG_WEAK, VER_FLG_BASE
_SYMBOLS_MAX = 200_000


class UnreadableError(Exception):
    """The file cannot be read to its end; the text says why."""


def read_elf(file: IO[bytes], name: str) -> tuple[set[str], set[str]]:
    """What the file needs and brings; both are empty if no image runs it. Raises what pyelftools raises."""
    if not is_loadable(file):
        return set(), set()
    elf = ELFFile(file)
    machine = _MACHINES.get(elf["e_machine"])
    needs: set[str] = set()
    brings: set[str] = set()
    if machine is None or elf["e_type"] not in ("ET_EXEC", "ET_DYN"):
        return needs, brings
    for segment in elf.iter_segments():
        if isinstance(segment, InterpSegment):
            needs.add(f"path:{_checked(segment.get_interp_name())}")
        elif isinstance(segment, DynamicSegment):
            if _is_taken_out(elf, segment):
                return set(), set()
            for kind, library in _libraries(segment):
                (needs if kind == "DT_NEEDED" else brings).add(f"lib:{machine}/{library}")
    if needs and not brings and (found := re.search(r"(?:^|/)(lib[^/]*\.so[^/]*)$", name)):
        brings.add(f"lib:{machine}/{_checked(found[1])}")  # without a DT_SONAME it is found by its name
    if needs or brings:
        _versions(elf, machine, needs, brings)
        if name.endswith(".node"):
            needs |= set(_node_abi(elf, name))
    return needs, brings


def _is_taken_out(elf: Any, segment: Any) -> bool:
    """Whether the file is for debuggers: the section of this segment has no bytes, and what is there is of others."""
    headers = (elf.get_section(number).header for number in range(1, elf.num_sections()))
    place = segment["p_vaddr"], segment["p_memsz"]
    return any(one["sh_type"] == "SHT_NOBITS" and (one["sh_addr"], one["sh_size"]) == place for one in headers)


def _libraries(segment: Any) -> Iterator[tuple[str, str]]:
    for tag in segment.iter_tags():
        if tag.entry.d_tag == "DT_NEEDED":
            yield "DT_NEEDED", _checked(tag.needed)
        elif tag.entry.d_tag == "DT_SONAME":
            yield "DT_SONAME", _checked(tag.soname)


def _versions(elf: Any, machine: str, needs: set[str], brings: set[str]) -> None:
    """A file without section headers has names alone."""
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for library, versions in section.iter_versions():
                needs.update(
                    f"lib:{machine}/{_checked(library.name)}({_checked(one.name)})"
                    for one in versions
                    if not one["vna_flags"] & _WEAK
                )
        elif isinstance(section, GNUVerDefSection):
            own = next((one.partition("/")[2] for one in brings), "")
            for definition, names in section.iter_versions():
                first = next(names, None)
                if own and first is not None and not definition["vd_flags"] & _BASE:
                    brings.add(f"lib:{machine}/{own}({_checked(first.name)})")
    if any(need.endswith("(GLIBC_PRIVATE)") for need in needs):
        needs.add("same:glibc")
    numbers = [
        tuple(map(int, found[1].split(".")))
        for one in brings
        if (found := re.search(r"/libc\.so\.6\(GLIBC_([\d.]+)\)$", one))
    ]
    if numbers:
        brings.add(f"glibc:{'.'.join(map(str, max(numbers)))}")


def _node_abi(elf: Any, name: str) -> Iterator[str]:
    """The ABI of an add-on for Node: none if it uses the stable one (Node-API) alone."""
    section = elf.get_section_by_name(".dynsym")
    symbols = section.iter_symbols() if section is not None else iter(())
    uses_engine = False
    for count, symbol in enumerate(symbols):
        if count > _SYMBOLS_MAX:
            raise UnreadableError("it has too many symbols")
        if found := re.fullmatch(r"node_register_module_v(\d{1,6})", symbol.name):
            yield f"node:{found[1]}"
            return
        is_missing = symbol["st_shndx"] == "SHN_UNDEF"
        uses_engine |= is_missing and symbol.name.startswith(("_ZN2v8", "_ZNK2v8", "_ZN4node", "node_module_register"))
    if uses_engine:
        found = re.search(r"node-v(\d{1,6})\b", name)
        yield f"node:{found[1]}" if found else "same:node"


def _checked(text: str) -> str:
    if not text or len(text) > NAME_CHARS_MAX:
        raise UnreadableError("a name in it is empty or too long")
    return text

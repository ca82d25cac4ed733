"""ICU's data with less in it: a library that holds the items which a recipe names, and nothing else."""

import subprocess
from pathlib import Path

from elftools.elf.elffile import ELFFile
from icu_package import ALIGNMENT, read_package, wanted, write_package
from problem import Problem, say

LIBRARIES = "usr/lib/*/libicudata.so.*"


def trim_icu(root: Path, patterns: list[str]) -> None:
    """Leaves in ICU's library below ``root`` the items that the patterns name, as ``coll/*``."""
    if not patterns:
        return
    found = [path for path in sorted(root.glob(LIBRARIES)) if not path.is_symlink()]
    if len(found) != 1:
        raise Problem(
            f"There are {len(found)} libraries of ICU's data in the packages, and the recipe needs exactly one."
        )
    library = found[0]
    symbol, soname, package = read_library(library)
    head, items = read_package(package)
    kept = {name: content for name, content in items.items() if wanted(name, patterns)}
    idle = [pattern for pattern in patterns if not any(wanted(name, [pattern]) for name in kept)]
    if idle:
        raise Problem(f"ICU's data has no item {idle[0]}.")
    write_library(library, symbol, soname, write_package(head, kept))
    say(f"ICU's data: {len(kept)} of {len(items)} items, {library.stat().st_size / 1e6:.1f} MB")


def read_library(library: Path) -> tuple[str, str, bytes]:
    """The name of the array in a library of ICU's data, the library's own, and the array."""
    with library.open("rb") as file:
        elf = ELFFile(file)
        symbols = [each for each in elf.get_section_by_name(".dynsym").iter_symbols() if each.name.endswith("_dat")]
        if len(symbols) != 1:
            raise Problem(f"{library.name} holds {len(symbols)} packages of ICU's data instead of one.")
        address, size = symbols[0]["st_value"], symbols[0]["st_size"]
        (offset,) = elf.address_offsets(address, size)
        tags = elf.get_section_by_name(".dynamic").iter_tags("DT_SONAME")
        soname = next(tags).soname
        file.seek(offset)
        return symbols[0].name, soname, file.read(size)


def write_library(library: Path, symbol: str, soname: str, package: bytes) -> None:
    """A library of this name with nothing but the array."""
    content, source = library.with_suffix(".dat"), library.with_suffix(".S")
    content.write_bytes(package)
    source.write_text(
        f".section .rodata\n.balign {ALIGNMENT}\n.globl {symbol}\n.type {symbol}, %object\n{symbol}:\n"
        f'.incbin "{content}"\n.size {symbol}, . - {symbol}\n.section .note.GNU-stack,"",%progbits\n'
    )
    link = ["gcc", "-shared", "-nostdlib", "-Wl,--build-id=none", f"-Wl,-soname,{soname}", "-o", str(library)]
    done = subprocess.run([*link, str(source)], capture_output=True, text=True, check=False)
    content.unlink()
    source.unlink()
    if done.returncode:
        raise Problem(f"ICU's data cannot be linked: {done.stderr.strip()[-300:]}")

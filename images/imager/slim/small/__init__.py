"""Small libraries instead of large ones of which a server calls next to nothing.

libsystemd notifies a service manager that a server is ready, and brings compressors and ciphers for journals;
libstdc++ is there for jemalloc. The programs stay the distribution's, and what they call does the same. Where anything
in an image calls more of a library than the small one has, the stock one is what the image gets.
"""

from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from problem import run, say

HERE = Path(__file__).parent
SONAMES = ("libsystemd.so.0", "libstdc++.so.6")


class Small:
    """One such library below ``root``, which must have it."""

    def __init__(self, root: Path, soname: str) -> None:
        self.soname = soname
        self.source = HERE / f"{soname.partition('.')[0]}.c"
        self.stock = next(path for path in root.glob(f"usr/lib/*/{soname}*") if not path.is_symlink())
        self.aside = self.stock.with_name(f"stock-{soname}")

    def take(self) -> None:
        """Puts the small one where programs look for it."""
        self.stock.rename(self.aside)
        run("gcc", "-Os", "-shared", "-fPIC", "-nostartfiles", "-U_FORTIFY_SOURCE", "-fno-stack-protector", "-s",
            "-fno-asynchronous-unwind-tables", "-Wl,--build-id=none", "-Wl,-z,noseparate-code",
            f"-Wl,--version-script={self.source.with_suffix('.map')}", f"-Wl,-soname,{self.soname}",
            "-o", str(self.stock), str(self.source))  # fmt: skip

    def give_back(self, tree: Path) -> None:
        """Puts the stock one back, and takes the small one out of ``tree``."""
        self.aside.rename(self.stock)
        for path in self.files(tree):
            path.unlink()

    def files(self, tree: Path) -> set[Path]:
        """The library in ``tree``."""
        return set(tree.glob(f"usr/lib/*/{self.soname}*"))

    def lacks(self, tree: Path) -> str:
        """The first function that something in ``tree`` needs from the library and that the small one lacks."""
        has = set(self.source.with_suffix(".map").read_text().replace(";", " ").split())
        files = (path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink())
        return next((name for path in files for name in sorted(imported(path, self.soname) - has)), "")


def take_small(root: Path) -> list[Small]:
    """Every small library, instead of those that the packages have."""
    libraries = [Small(root, soname) for soname in SONAMES if list(root.glob(f"usr/lib/*/{soname}"))]
    for library in libraries:
        library.take()
    return libraries


def give_back(libraries: list[Small], tree: Path) -> list[Small]:
    """Puts back the stock ones of which ``tree`` needs more; returns the small ones that stay."""
    lacking = {library.soname: library.lacks(tree) for library in libraries}
    for library in libraries:
        if lacking[library.soname]:
            say(f"the stock {library.soname} stays: {lacking[library.soname]} is called")
            library.give_back(tree)
    return [library for library in libraries if not lacking[library.soname]]


def imported(path: Path, soname: str) -> set[str]:
    """What a file needs from a library; nothing if it is not a program or library itself."""
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return set()
        try:
            elf = ELFFile(file)
            sections = [elf.get_section_by_name(name) for name in (".dynsym", ".gnu.version", ".gnu.version_r")]
            if None in sections:
                return set()
            symbols, versions, needed = sections
            wanted = {
                version["vna_other"]
                for library, found in needed.iter_versions()
                if library.name == soname
                for version in found
            }
            return {symbol.name for number, symbol in enumerate(symbols.iter_symbols())
                    if versions.get_symbol(number)["ndx"] in wanted}  # fmt: skip
        except ELFError:
            return set()

"""Which libraries the processes of containers have mapped, and a base whose libraries differ from the old ones."""

from __future__ import annotations

import io
import platform
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = b"\npatched by verify.fleet\n"  # at the end of a library: no loader reads it
FOLDER = f"usr/lib/{platform.machine()}-linux-gnu"
LIBRARIES = ("libssl.so.3", "libcrypto.so.3", "libc.so.6", "libm.so.6", "libz.so.1")


@dataclass(frozen=True)
class Mapping:
    """A library of the base's folder that a process has mapped."""

    process: int
    library: str
    patched: bool


def patched_libraries(image: str) -> dict[str, bytes]:
    """The base's libraries with the mark, by their path; ``image`` is on the engine."""
    names = [f"{FOLDER}/{name}" for name in LIBRARIES]
    command = ["docker", "run", "--rm", "--network=none", "--entrypoint=tar", image, "-C", "/", "-chf", "-", *names]
    done = subprocess.run(command, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        return {one.name: _content(archive, one) + MARK for one in archive if one.isfile()}


def mappings(container: Any) -> Iterator[Mapping]:
    """Of all processes of a container of this machine's engine (proc(5), ``map_files``: only root reads it)."""
    top = container.top()
    column = top["Titles"].index("PID")
    for row in top["Processes"]:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            yield from _mapped_by(int(row[column]))


def _mapped_by(process: int) -> list[Mapping]:
    folder, found = Path("/proc", str(process)), dict[str, Mapping]()
    for line in (folder / "maps").read_text().splitlines():
        span, *fields = line.split(maxsplit=5)
        name = fields[4].rpartition("/")[2] if len(fields) == 5 else ""
        if name in LIBRARIES and fields[4] == f"/{FOLDER}/{name}" and name not in found:
            found[name] = Mapping(process, name, _ends_with_mark(folder / "map_files" / span))
    return list(found.values())


def _ends_with_mark(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-len(MARK), io.SEEK_END)
        return file.read() == MARK


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    found = archive.extractfile(entry)
    if found is None:
        raise ValueError(f"{entry.name} is not a file")
    return found.read()

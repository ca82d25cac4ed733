"""The archive of a build tool, unpacked as root: only files and folders, each below the target and written once.

The registry's content is verified by its digest, but a digest does not say that an archive is harmless. Links are
refused, so that no entry can be written through one.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path

TOP = "tool"  # the folder that all entries are in

ENTRIES_MAX = 100_000

_FOLDER_MODE, _PROGRAM_MODE, _FILE_MODE = 0o755, 0o755, 0o644


def unpack(archive: Path, into: Path, *, limit_bytes: int) -> None:
    """Writes the entries of a gzip-compressed tar archive below ``into``, which must not exist.

    ``limit_bytes`` is the size of all files together. Raises ValueError that names the entry if the archive is
    damaged, too large, or has anything other than plain files and folders, and OSError.
    """
    left_bytes, entries = limit_bytes, 0
    try:
        # Layers are compressed in many members (oci/layer.py), of which tarfile's own "r|gz" reads the first alone.
        with gzip.open(archive) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
            for member in tar:
                entries += 1
                left_bytes -= member.size
                if left_bytes < 0 or entries > ENTRIES_MAX:
                    raise ValueError(f"it has more than {limit_bytes:,} bytes or {ENTRIES_MAX:,} entries")
                _write(tar, member, into)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"it is not a complete archive: {error}") from error
    if not entries:
        raise ValueError("it is empty")


def place_of(name: str, into: Path) -> Path:
    """Where an entry of this name goes. Raises ValueError if that is not below ``into``."""
    top, *parts = name.split("/")
    if top != TOP or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ValueError(f"{name[:200]!r} is not a plain path below {TOP}/")
    return into.joinpath(*parts)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    place = place_of(member.name, into)
    try:
        if member.isdir():
            place.mkdir()
            place.chmod(_FOLDER_MODE)
        elif member.isreg() and (content := tar.extractfile(member)):
            with place.open("xb") as file:
                shutil.copyfileobj(content, file, 1024 * 1024)
            place.chmod(_PROGRAM_MODE if member.mode & 0o100 else _FILE_MODE)
        else:
            raise ValueError(f"{member.name[:200]!r} is neither a file nor a folder")
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(f"{member.name[:200]!r} is not in a folder of the archive, or comes twice") from error

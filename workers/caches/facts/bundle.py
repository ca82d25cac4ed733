"""The inspector as one archive, which a sandbox gets on standard input in front of the layer."""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path

import elftools

from workers.caches.facts import inspector

_PACKAGE = inspector.__name__
_ARCHIVE = "/tmp/inspector.zip"

_PROGRAM = f"""
import sys
read = sys.stdin.buffer.read
open({_ARCHIVE!r}, "wb").write(read(int.from_bytes(read(4), "big")))
sys.path.insert(0, {_ARCHIVE!r})
from {_PACKAGE}.main import main
main()
"""
# -I and -S: nothing of the environment, and of the image only the standard library.
COMMAND = ("python3", "-I", "-S", "-c", _PROGRAM)


@cache
def inspector_bytes() -> bytes:
    """The archive, with its length in front."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        folders = _PACKAGE.split(".")
        for depth in range(1, len(folders)):
            archive.writestr("/".join([*folders[:depth], "__init__.py"]), "")
        _add(archive, Path(inspector.__path__[0]), "/".join(folders))
        _add(archive, Path(elftools.__path__[0]), "elftools")
    content = file.getvalue()
    return len(content).to_bytes(4, "big") + content


def _add(archive: zipfile.ZipFile, folder: Path, name: str) -> None:
    for path in sorted(folder.rglob("*.py")):
        archive.write(path, f"{name}/{path.relative_to(folder)}")

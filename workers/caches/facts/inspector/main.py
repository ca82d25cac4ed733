"""Reads one layer, a tar stream, from standard input, and writes what it found to standard output.

That is the facts, compressed JSON, with their length in front as four bytes, and then the components likewise.
"""

from __future__ import annotations

import io
import json
import os
import posixpath
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable
from types import FrameType
from typing import IO, Any, TypeVar

from workers.caches.facts.inspector.components.inventory import Inventory
from workers.caches.facts.inspector.elf import HEADER_BYTES, MAGIC, UnreadableError, read_elf
from workers.caches.facts.inspector.findings import Findings
from workers.caches.facts.inspector.runtimes import (
    by_content,
    by_path,
    class_version,
    interpreter,
    is_program,
    is_read,
    jar_versions,
    outside,
)

T = TypeVar("T")

_HEAD_BYTES = 64 * 1024
_IN_MEMORY_BYTES = 32 * 1024 * 1024
_FILE_SECONDS = 10  # of the processor
_DAMAGED_SECONDS = 20  # for all files that could not be read to their end
_LAYER_SECONDS = 300
_ADDRESS_BYTES = 2 << 30
_JARS = (".jar", ".war", ".ear")


def main() -> None:
    """The process's whole work; it ends with a code other than 0 if there are no facts."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CPU, (_LAYER_SECONDS, _LAYER_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_BYTES, _ADDRESS_BYTES))
    parts = Inventory()
    found = read_layer(sys.stdin.buffer, parts)
    text = json.dumps(found.document(), sort_keys=True, separators=(",", ":"))
    for piece in (zlib.compress(text.encode(), 9), parts.encode()):
        sys.stdout.buffer.write(len(piece).to_bytes(4, "big") + piece)


def read_layer(stream: IO[bytes], parts: Inventory | None = None) -> Findings:
    """The facts of a layer; ``parts`` gets its components. Raises what tarfile raises if the stream is damaged."""
    found, parts = Findings(), parts or Inventory()
    with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20, errors="surrogateescape") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
            name = posixpath.normpath(f"/{member.name}").lstrip("/")
            if member.isdir():
                continue
            found.entry(name, member.linkname if member.issym() else None)
            parts.entry(name)
            if member.issym() and (need := outside(member.linkname)):
                found.need(need, name)
            if is_program(name) and (member.issym() or member.mode & 0o111):
                found.command(name)
            if member.islnk():  # its content was there under another name
                _note(found, name, *by_path(name))
                parts.link(name)
            content = tar.extractfile(member) if member.isreg() and member.size else None
            if content is not None:
                _read_file(found, parts, name, member, content)
    return found


def _read_file(found: Findings, parts: Inventory, name: str, member: tarfile.TarInfo, content: IO[bytes]) -> None:
    needs, brings = by_path(name)
    head = content.read(max(_HEAD_BYTES if is_read(name) else 4096, parts.bytes_of(name)))
    parts.text(name, head)
    if is_read(name):
        more = by_content(name, head)
        needs, brings = [*needs, *more[0]], [*brings, *more[1]]
    if member.mode & 0o111:
        needs += interpreter(head)
    if name.endswith(".class") and (version := class_version(head)):
        needs.append(f"java:{version}")
    if head.startswith(MAGIC) and member.size >= HEADER_BYTES:
        file = _seekable(head, member, content)
        both = _bounded(found, name, lambda: read_elf(file, name))
        found.elf(name, *(both or (set(), set())))
        parts.program(name, file)
    elif name.endswith(_JARS) and head.startswith(b"PK"):
        file = _seekable(head, member, content)
        versions = _bounded(found, name, lambda: jar_versions(file))
        parts.archive(name, file)
        needs += [f"java:{version}" for version in sorted(versions or ())]
    _note(found, name, needs, brings)


def _note(found: Findings, name: str, needs: list[str], brings: list[str]) -> None:
    for need in needs:
        found.need(need, name)
    for brought in brings:
        found.bring_once(brought, name)


def _bounded(found: Findings, name: str, read: Callable[[], T]) -> T | None:
    """What ``read`` returns; None, with a note that the layer is not wholly known, if the file is damaged."""

    late: list[bool] = []

    def stop(number: int, frame: FrameType | None) -> None:
        late.append(True)
        raise UnreadableError("to read it takes too long")

    if found.damaged_seconds >= _DAMAGED_SECONDS:
        found.unreadable(name, "too many files are damaged")
        return None
    started = time.process_time()
    before = signal.signal(signal.SIGVTALRM, stop)
    # It comes again, for a library may take the exception for one of its own.
    signal.setitimer(signal.ITIMER_VIRTUAL, _FILE_SECONDS, 1)
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - whatever untrusted bytes make the libraries raise
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        why = str(error) if isinstance(error, UnreadableError) else f"it is damaged ({type(error).__name__})"
        found.unreadable(name, "to read it takes too long" if late else why)
        found.damaged_seconds += time.process_time() - started
        return None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _seekable(head: bytes, member: tarfile.TarInfo, content: IO[bytes]) -> IO[bytes]:
    if member.size <= _IN_MEMORY_BYTES:
        return io.BytesIO(head + content.read())
    file: Any = tempfile.TemporaryFile(dir="/tmp")  # noqa: SIM115 - it ends with its last reference
    file.write(head)
    shutil.copyfileobj(content, file, 1 << 20)
    file.seek(0)
    return file  # type: ignore[no-any-return]

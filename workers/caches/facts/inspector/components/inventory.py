"""Collects a layer's components by the file that names them, within bounds."""

from __future__ import annotations

import json
import re
import signal
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import IO

from workers.caches.facts.inspector.components import debian, java, node, perl, php, programs, python, ruby, runtimes
from workers.caches.facts.inspector.components.found import Component, DamagedError, plain_path

VERSION = 1
COMPONENTS_MAX = 20_000
_UNREAD_MAX = 20
_REMOVED_MAX = 20_000
_FILE_SECONDS = 5  # of the processor
_SLOW_MAX = 3  # files that took longer; then no more are read
_NAME_CHARS_MAX = 1024
_WHITEOUT = ".wh."

_Text = Callable[[bytes, str], Iterator[Component]]
_TEXTS: tuple[tuple[re.Pattern[str], int, _Text], ...] = (
    (runtimes.PATH, runtimes.BYTES_MAX, runtimes.read),
    (debian.PATH, debian.BYTES_MAX, debian.read),
    (python.PATH, python.BYTES_MAX, python.read),
    (node.PATH, node.BYTES_MAX, node.read),
    (node.PNP_PATH, node.PNP_BYTES_MAX, node.read_pnp),
    (ruby.PATH, ruby.BYTES_MAX, ruby.read),
    (php.PATH, php.BYTES_MAX, php.read),
    (perl.PATH, perl.BYTES_MAX, perl.read),
)
_DPKG = re.compile(r"(?:^|/)var/lib/dpkg/")
# What dpkg has installed is listed by dpkg alone, else it is found twice: as a package of Debian and of its language.
_PACKAGED = re.compile(
    r"(?:^|/)(?:node_modules|site-packages|gems|perl5|\.(?:venv|python|node|deno|bun|java|php|heroku)|jvm)/"
)
_OF_DPKG = re.compile(r"^(?:usr/(?!local/)|lib/|bin/|sbin/|lib64/|opt/java/)|(?:^|/)\.apt/")


@dataclass
class Inventory:
    """Components by file. ``unread`` has the files that could not be read, with reasons."""

    files: dict[str, tuple[Component, ...]] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)  # what the layer takes away of lower ones; "x/" is all in x
    unread: dict[str, str] = field(default_factory=dict)
    _count: int = 0
    _slow: int = 0

    def entry(self, name: str) -> None:
        """Anything but a folder: it may take something away."""
        folder, _, last = name.rpartition("/")
        if last.startswith(_WHITEOUT) and len(self.removed) < _REMOVED_MAX:
            folder = plain_path(folder)
            is_opaque = last == ".wh..wh..opq"
            self.removed.append(
                f"{folder}/" if is_opaque else f"{folder}/{plain_path(last.removeprefix(_WHITEOUT))}".lstrip("/")
            )

    def bytes_of(self, name: str) -> int:
        """How much of this file is to be read; 0 if it names no component by itself."""
        row = _row(name)
        return row[1] + 1 if row else 0

    def text(self, name: str, content: bytes) -> None:
        """A file of which `bytes_of` wants to be read."""
        if (row := _row(name)) is None:
            return
        _, limit, read = row
        if len(content) > limit and read is not python.read:
            self._note(name, "it is too large")
        else:
            self._add(name, lambda: read(content, name))

    def program(self, name: str, file: IO[bytes]) -> None:
        """An ELF file; it is read from its start. One that no package brings and that lists nothing is declared."""
        self._binary(name, file, programs.read)
        is_own = name.startswith("app/") and not (_OF_DPKG.search(name) or _PACKAGED.search(name))
        if is_own and not self.files.get(plain_path(name)):
            self._note(name, "it is a program or library that does not list its components")

    def archive(self, name: str, file: IO[bytes]) -> None:
        """A jar."""
        if not name.endswith(("-sources.jar", "-javadoc.jar")):
            self._binary(name, file, java.read)

    def encode(self) -> bytes:
        """Equal layers have equal bytes."""
        document = {
            "version": VERSION, "files": {name: found for name, found in sorted(self.files.items()) if found},
            "removed": sorted(self.removed), "unread": self.unread,
        }  # fmt: skip
        return zlib.compress(json.dumps(document, sort_keys=True, separators=(",", ":")).encode(), 9)

    def _binary(self, name: str, file: IO[bytes], read: Callable[[IO[bytes], str], Iterable[Component]]) -> None:
        if not _OF_DPKG.search(name):
            file.seek(0)
            self._add(name, lambda: read(file, name))

    def _add(self, name: str, read: Callable[[], Iterable[Component]]) -> None:
        if self._slow >= _SLOW_MAX:
            self._note(name, "too many files take too long")
            return
        found: list[Component] = []
        try:
            with _bounded():
                found.extend(read())
        except _SlowError:
            self._slow += 1
            self._note(name, "to read it takes too long")
        except DamagedError as error:
            self._note(name, str(error))
        except Exception as error:  # noqa: BLE001 - whatever untrusted bytes make the libraries raise
            self._note(name, f"it is damaged ({type(error).__name__})")
        room = COMPONENTS_MAX - self._count
        if len(found) > room:
            self._note(name, f"the layer has more than {COMPONENTS_MAX:,} components")
        kept = tuple(sorted(set(found[:room])))
        self._count += len(kept)
        # A list of packages that an upper layer has emptied hides the one below.
        if kept or _DPKG.search(name):
            self.files[plain_path(name)] = kept

    def _note(self, name: str, why: str) -> None:
        if len(self.unread) < _UNREAD_MAX:
            self.unread.setdefault(plain_path(name)[-_NAME_CHARS_MAX:], why)


class _SlowError(Exception):
    """The file takes too long."""


@contextmanager
def _bounded() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _SlowError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, _FILE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _row(name: str) -> tuple[re.Pattern[str], int, _Text] | None:
    if len(name) > _NAME_CHARS_MAX or (_OF_DPKG.search(name) and not _DPKG.search(name)):
        return None
    return next((row for row in _TEXTS if row[0].search(name)), None)

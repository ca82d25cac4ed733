"""Collects a layer's components by the file that names them, within bounds."""

from __future__ import annotations

import json
import re
import signal
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
_LAYER_SECONDS = 60.0  # likewise, for all files of a layer; then no more are read
_NAME_CHARS_MAX = 1024
_PATH_CHARS_MAX = 2048  # as it is written
_FILES_MAX = 2 * COMPONENTS_MAX  # also those without a component, which hide one of a lower layer
_PACKED_BYTES_MAX = 256 * 1024  # what the farm keeps
_TEXT_BYTES_MAX = 16 * 1024 * 1024
_JARS = (".jar", ".war", ".ear")
_WHITEOUT = ".wh."

_Found = Iterable[Component | DamagedError]
_Text = Callable[[bytes, str], _Found]
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
    r"(?:^|/)(?:node_modules|site-packages|ruby/[^/]+/(?:bundler/)?(?:gems|extensions)|perl5)/"
    r"|^app/\.(?:venv|python|node|deno|bun|java|jdk|php|ruby|perl|heroku)/|/jvm/|^layers/.*(?:jdk|jre|java)[^/]*/bin/"
    r"|^layers/.*/bin/(?:python|ruby|php|perl)[\d.]*$"
)
_OWN = re.compile(r"^app/|^layers/.*/bin/[^/]+$")
_APT = "app/.apt/"
_OF_DPKG = re.compile(r"^(?:usr/(?!local/)|lib/|bin/|sbin/|lib64/|opt/java/)|^app/\.apt/")


@dataclass
class Inventory:
    """Components by file. ``unread`` has the files that could not be read, with reasons."""

    files: dict[str, tuple[Component, ...]] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)  # what the layer takes away of lower ones; "x/" is all in x
    unread: dict[str, str] = field(default_factory=dict)
    _count: int = 0
    _more: int = 0  # files that are not known either
    _seconds: float = 0.0
    _apt: set[bool] = field(default_factory=set)  # of what the buildpack apt unpacks: whether it is a list of packages

    def entry(self, name: str) -> None:
        """Anything but a folder: it may take something away."""
        if _is_listed(name):
            self._keep(name, ())
        if name.startswith(_APT):
            self._apt.add(_DPKG.search(name) is not None)
        folder, _, last = name.rpartition("/")
        if last.startswith(_WHITEOUT):
            is_opaque = last == ".wh..wh..opq"
            gone = f"{plain_path(folder)}/{'' if is_opaque else plain_path(last.removeprefix(_WHITEOUT))}"
            if len(gone) > _PATH_CHARS_MAX:
                self._note(name, "its path is too long")
            elif len(self.removed) >= _REMOVED_MAX:
                self._note(name, "the layer removes too many files")
            else:
                self.removed.append(gone if is_opaque else gone.lstrip("/"))

    def link(self, name: str) -> None:
        """A hard link: its content stands under another name."""
        if _is_listed(name):
            self._note(name, "it is a hard link")

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
        is_own = _OWN.search(name) and not (_OF_DPKG.search(name) or _PACKAGED.search(name))
        if is_own and not self.files.get(plain_path(name)):
            self._note(name, "it is a program or library that does not list its components")

    def archive(self, name: str, file: IO[bytes]) -> None:
        """A jar."""
        if not name.endswith(("-sources.jar", "-javadoc.jar")):
            self._binary(name, file, java.read)

    def encode(self) -> bytes:
        """Equal layers have equal bytes."""
        unread = dict(self.unread)
        if self._apt == {False}:  # another buildpack than the farm's has unpacked it
            unread[_APT] = "its packages are in no list"
        if self._more:
            unread[""] = f"{self._more:,} more files could not be read"
        text = _text(dict(sorted(self.files.items())), sorted(self.removed), unread)
        packed = zlib.compress(text, 9)
        if len(packed) > _PACKED_BYTES_MAX or len(text) > _TEXT_BYTES_MAX:
            return zlib.compress(_text({}, [], {"": "the list of its components is too long"}), 9)
        return packed

    def _binary(self, name: str, file: IO[bytes], read: Callable[[IO[bytes], str], _Found]) -> None:
        if not _OF_DPKG.search(name):
            file.seek(0)
            self._add(name, lambda: read(file, name))

    def _add(self, name: str, read: Callable[[], _Found]) -> None:
        if self._seconds >= _LAYER_SECONDS:
            self._note(name, "the layer's files take too long")
            return
        found: list[Component | DamagedError] = []
        started = time.process_time()
        try:
            with _bounded():
                found.extend(read())
        except _SlowError:
            self._note(name, "to read it takes too long")
        except DamagedError as error:
            self._note(name, str(error))
        except Exception as error:  # noqa: BLE001 - whatever untrusted bytes make the libraries raise
            self._note(name, f"it is damaged ({type(error).__name__})")
        self._seconds += time.process_time() - started
        if damaged := [one for one in found if isinstance(one, DamagedError)]:
            more = f", and {len(damaged) - 1:,} more entries" if damaged[1:] else ""
            self._note(name, f"{plain_path(str(damaged[0]))[:500]}{more}")
        self._keep(name, [one for one in found if not isinstance(one, DamagedError)])

    def _keep(self, name: str, found: Sequence[Component]) -> None:
        """Also that there is none: the file hides that of a lower layer."""
        path, room = plain_path(name), COMPONENTS_MAX - self._count
        if not found and not _is_listed(name) and path not in self.files:
            return
        if len(path) > _PATH_CHARS_MAX:
            self._note(name, "its path is too long")
            return
        if len(self.files) >= _FILES_MAX and path not in self.files:
            self._note(name, "the layer has too many files that name components")
            return
        if len(found) > room:
            self._note(name, f"the layer has more than {COMPONENTS_MAX:,} components")
        kept = tuple(sorted(set(found[:room])))
        self._count += len(kept)
        self.files[path] = kept

    def _note(self, name: str, why: str) -> None:
        path = plain_path(name)[-_NAME_CHARS_MAX:]
        if path in self.unread or len(self.unread) < _UNREAD_MAX:
            self.unread.setdefault(path, why)
        else:
            self._more += 1


class _SlowError(BaseException):
    """The file takes too long. No library handles it as its own error."""


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


def _is_listed(name: str) -> bool:
    """Whether such a file names components, by its name alone."""
    return _row(name) is not None or (name.endswith(_JARS) and not _OF_DPKG.search(name))


def _text(files: Mapping[str, Sequence[Component]], removed: Sequence[str], unread: Mapping[str, str]) -> bytes:
    document = {"version": VERSION, "files": files, "removed": removed, "unread": unread}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

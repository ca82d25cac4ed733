"""A registry's files, as distribution 2.x lays them out on a disk (its registry/storage/paths.go).

The registry's API does not list manifests without a tag, and does not free bytes; both need access to the files.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from buildfarm.errors import SetupError
from buildfarm.gc.content import MANIFEST_BYTES_MAX, Content
from buildfarm.oci.digest import Digest

_LOCK, _OWNER, _MEMORY = "collection.lock", "collection.farm", "collection.memory"
_LOOK_SECONDS = 0.1  # after which a process that only asked for the lock has let it go


@dataclass(frozen=True)
class Stored:
    """One manifest in one repository."""

    repository: str
    digest: str
    written_at: float  # seconds since the epoch: when it was last pushed
    tags: frozenset[str] = frozenset()
    names: frozenset[str] = field(default=frozenset(), repr=False)  # itself, its config, layers and manifests
    subject: str = ""  # the manifest that this one is about: a signature, a bill of materials
    release: str = ""  # the release that an image names
    is_release: bool = False
    is_signatures: bool = False

    @classmethod
    def of(cls, place: tuple[str, str], at: float, tags: frozenset[str], found: Content) -> Stored:
        """The manifest in this repository under this digest, whose content was found."""
        return cls(
            *place,
            at,
            tags,
            found.names | {place[1]},
            found.subject,
            found.release,
            found.is_release,
            found.is_signatures,
        )


@dataclass(frozen=True)
class Storage:
    """The files below ``root``, the folder that the registry calls its ``rootdirectory``."""

    root: Path

    @cached_property
    def top(self) -> Path:
        """The folder of everything that the registry keeps."""
        return self.root / "docker" / "registry" / "v2"

    def exists(self) -> bool:
        """Whether a registry keeps its files here."""
        return (self.top / "repositories").is_dir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One collection at a time; the kernel opens the lock when its holder dies. Raises SetupError."""
        with (self.top / _LOCK).open("w") as file:
            if not _lock(file) and not _lock_again(file):
                raise SetupError(
                    f"Another process is collecting the garbage in {self.root}.", advice="Try again when it is done."
                )
            yield

    def is_locked(self) -> bool:
        """Whether a collection runs; after a change of the lead it can be another node's."""
        try:
            with (self.top / _LOCK).open("rb") as file:
                return not _lock(file, fcntl.LOCK_SH)
        except OSError:
            return False  # there was no collection yet, or the one that begins will report what is wrong

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turns a file that cannot be read or moved into a SetupError: what it names is not known."""
        try:
            yield
        except OSError as error:
            raise SetupError(
                f"{error.filename or self.root}, of the registry's files, cannot be read or moved: {error.strerror}.",
                advice="Run this as a user who owns the files, such as root, and check their disk. Nothing is lost:"
                " the next collection puts back what this one moved.",
            ) from error

    def disk(self) -> tuple[int, int]:
        """Used bytes of the file system, and these and the free ones together, as df(1) counts them."""
        status = os.statvfs(self.root)
        used = status.f_blocks - status.f_bfree
        return used * status.f_frsize, (used + status.f_bavail) * status.f_frsize

    def owner(self) -> str:
        """The id of the farm that collects here; empty if none did yet."""
        path = self.top / _OWNER
        return path.read_text().strip() if path.is_file() else ""

    def own(self, farm_id: str) -> None:
        """The farm of this id collects here from now on."""
        (self.top / _OWNER).write_text(f"{farm_id}\n")

    def memory(self) -> dict[str, Any]:
        """What the newest collection left here for the case that Redis is lost; empty if there was none."""
        try:
            found = json.loads((self.top / _MEMORY).read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError:
            found = None
        return found if isinstance(found, dict) else {"mark": "damaged"}

    def remember(self, memory: Mapping[str, object]) -> None:
        """Replaces it, at once and for good."""
        new = self.top / f"{_MEMORY}.new"
        try:
            with new.open("w") as file:
                json.dump(memory, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.top / _MEMORY)
        finally:
            new.unlink(missing_ok=True)
        folder = os.open(self.top, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def repositories(self) -> Iterator[str]:
        """The names of all repositories."""
        top = self.top / "repositories"
        for folder, inner, _ in os.walk(top):
            if "_manifests" in inner or "_layers" in inner:
                yield str(Path(folder).relative_to(top))
            # What begins with a low line is the registry's own; the sorted rest are parts of names.
            inner[:] = sorted(name for name in inner if not name.startswith("_"))

    def manifests(self) -> Iterator[Stored]:
        """Every manifest of every repository."""
        for repository in self.repositories():
            yield from self.manifests_of(repository)

    def manifests_of(self, repository: str) -> Iterator[Stored]:
        """The manifests of one repository."""
        tags = self.tags(repository)
        for digest, written_at in self.revisions(repository):
            yield self.stored(repository, digest, written_at, tags.get(digest, frozenset()))

    def stored(self, repository: str, digest: str, written_at: float, tags: frozenset[str] = frozenset()) -> Stored:
        """A manifest with what its content names."""
        return Stored.of((repository, digest), written_at, tags, self._content(digest))

    def revisions(self, repository: str) -> Iterator[tuple[str, float]]:
        """Digest and time of the last push of each manifest."""
        for entry in _entries(self.folder(repository) / "_manifests" / "revisions" / "sha256"):
            written_at = linked_at(entry)
            if written_at is not None:
                yield f"sha256:{entry.name}", written_at

    def tags(self, repository: str) -> dict[str, frozenset[str]]:
        """The tags of each manifest."""
        found: dict[str, set[str]] = {}
        for entry in _entries(self.folder(repository) / "_manifests" / "tags"):
            try:
                digest = (Path(entry.path) / "current" / "link").read_text().strip()
            except FileNotFoundError:
                continue
            found.setdefault(digest, set()).add(entry.name)
        return {digest: frozenset(tags) for digest, tags in found.items()}

    def links(self, repository: str) -> Iterator[os.DirEntry[str]]:
        """The folders by which a repository lists its blobs, each named by a digest's hexadecimal digits."""
        yield from _entries(self.folder(repository) / "_layers" / "sha256")

    def blobs(self) -> Iterator[tuple[str, int, float]]:
        """Digest, bytes and time of writing of every blob."""
        for part in _entries(self.top / "blobs" / "sha256"):
            for entry in _entries(Path(part.path)):
                try:
                    status = (Path(entry.path) / "data").stat()
                except FileNotFoundError:
                    continue
                yield f"sha256:{entry.name}", status.st_size, status.st_mtime

    def folder(self, repository: str) -> Path:
        """What a repository keeps."""
        return self.top / "repositories" / repository

    def revision(self, repository: str, digest: str) -> Path:
        """The folder by which a repository has a manifest."""
        return self.folder(repository) / "_manifests" / "revisions" / "sha256" / hexadecimal(digest)

    def blob(self, digest: str) -> Path:
        """The folder of a blob."""
        return self.top / "blobs" / "sha256" / hexadecimal(digest)[:2] / hexadecimal(digest)

    def forget_empty(self, folder: str, before: float) -> None:
        """Removes what the registry leaves of manifests that were deleted over its API: empty folders."""
        for repository in self.repositories():
            if repository.startswith(folder):
                for entry in _entries(self.folder(repository) / "_manifests" / "revisions" / "sha256"):
                    with suppress(OSError):  # it is not empty, or has just been written to
                        if entry.stat().st_mtime < before:
                            Path(entry).rmdir()

    def _content(self, digest: str) -> Content:
        path = self.blob(digest) / "data"
        try:
            return Content.parse(path.read_bytes()) if path.stat().st_size <= MANIFEST_BYTES_MAX else Content()
        except FileNotFoundError:
            return Content()


def _lock(file: IO[Any], kind: int = fcntl.LOCK_EX) -> bool:
    """Whether the file could be locked at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_again(file: IO[Any]) -> bool:
    time.sleep(_LOOK_SECONDS)
    return _lock(file)


def hexadecimal(digest: str) -> str:
    """The digits of a digest, by which its folders are named."""
    return Digest(digest).removeprefix("sha256:")


def linked_at(folder: os.DirEntry[str] | Path) -> float | None:
    """When the registry last wrote the link in this folder; None if there is none."""
    try:
        return (Path(folder) / "link").stat().st_mtime
    except FileNotFoundError:
        return None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except FileNotFoundError:
        return []

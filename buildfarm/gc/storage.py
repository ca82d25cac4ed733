"""A registry's files, as distribution 2.x lays them out on a disk (its registry/storage/paths.go).

The registry's API does not list manifests without a tag, and does not free bytes; both need access to the files.
"""

from __future__ import annotations

import errno
import json
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.oci.digest import Digest

_MANIFEST_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True)
class Stored:
    """One manifest in one repository."""

    repository: str
    digest: str
    written_at: float  # seconds since the epoch: when it was last pushed
    tags: frozenset[str] = frozenset()
    names: frozenset[str] = field(default=frozenset(), repr=False)  # blobs and manifests that it refers to


@dataclass(frozen=True)
class Storage:
    """The files below ``root``, the folder that the registry calls its ``rootdirectory``."""

    root: Path

    @property
    def _top(self) -> Path:
        return self.root / "docker" / "registry" / "v2"

    def exists(self) -> bool:
        """Whether a registry keeps its files here."""
        return (self._top / "repositories").is_dir()

    def manifests(self, since: float = 0) -> Iterator[Stored]:
        """Every manifest of every repository that was written later than ``since``."""
        for folder in sorted((self._top / "repositories").glob("**/_manifests")):
            repository = str(folder.parent.relative_to(self._top / "repositories"))
            tags: dict[str, set[str]] = {}
            for link in folder.glob("tags/*/current/link"):
                tags.setdefault(link.read_text().strip(), set()).add(link.parents[1].name)
            for link in folder.glob("revisions/sha256/*/link"):
                written_at = link.stat().st_mtime
                if written_at <= since:
                    continue
                digest = f"sha256:{link.parent.name}"
                names = frozenset(self._names(digest))
                yield Stored(repository, digest, written_at, frozenset(tags.get(digest, ())), names)

    def blobs(self) -> Iterator[tuple[str, int, float]]:
        """Digest, bytes and time of writing of every blob."""
        for data in (self._top / "blobs" / "sha256").glob("*/*/data"):
            status = data.stat()
            yield f"sha256:{data.parent.name}", status.st_size, status.st_mtime

    def forget(self, manifest: Stored) -> None:
        """The repository no longer has this manifest; its blob stays."""
        folder = self._top / "repositories" / manifest.repository / "_manifests"
        for tag in manifest.tags:
            shutil.rmtree(folder / "tags" / tag, ignore_errors=True)
        shutil.rmtree(folder / "revisions" / "sha256" / _hex(manifest.digest), ignore_errors=True)

    def set_aside(self, digests: Iterable[str]) -> Aside:
        """Blobs out of the registry's sight; they can still be put back."""
        trash = self._top / f"trash-{secrets.token_hex(4)}"
        trash.mkdir()
        for digest in digests:
            with suppress(FileNotFoundError):
                self._blob(digest).rename(trash / _hex(digest))
        return Aside(self, trash)

    def forget_links(self, digests: frozenset[str]) -> None:
        """No repository lists these blobs from now on, unless they were sent anew meanwhile."""
        for link in (self._top / "repositories").glob("**/_layers/sha256/*"):
            digest = f"sha256:{link.name}"
            if digest in digests and not self._blob(digest).exists():
                shutil.rmtree(link, ignore_errors=True)

    def _blob(self, digest: str) -> Path:
        return self._top / "blobs" / "sha256" / _hex(digest)[:2] / _hex(digest)

    def _names(self, digest: str) -> Iterator[str]:
        """Everything that a manifest or index names, itself too."""
        yield digest
        path = self._blob(digest) / "data"
        try:
            if path.stat().st_size > _MANIFEST_BYTES_MAX:
                return
            content = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return
        if not isinstance(content, dict):
            return
        found = [
            content.get("config"),
            content.get("subject"),
            *content.get("layers", ()),
            *content.get("manifests", ()),
        ]
        yield from (str(item["digest"]) for item in found if isinstance(item, dict) and "digest" in item)


@dataclass(frozen=True)
class Aside:
    """Blobs that were set aside."""

    storage: Storage
    folder: Path

    def put_back(self, digests: Iterable[str]) -> int:
        """Those that are named after all; returns how many there were."""
        count = 0
        for digest in digests:
            source, target = self.folder / _hex(digest), self.storage._blob(digest)
            if not source.is_dir():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                source.rename(target)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:  # sent anew meanwhile: it is the same
                    raise
            else:
                count += 1
        return count

    def remove(self) -> None:
        """They are gone for good."""
        shutil.rmtree(self.folder)


def _hex(digest: str) -> str:
    return Digest(digest).removeprefix("sha256:")

"""Moves parts of a registry out of its sight, and back if a push needs them after all.

A part is a folder that the registry reads as a whole: a blob, a link to a blob, a manifest of a repository, a tag. It
lies in the trash under the path that it had. The trash of a process that died goes back whole. A trash that is being
emptied has another name, and the next collection goes on emptying it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.gc.files.trash import GONE, TRASH, remove, rename
from buildfarm.gc.storage import Storage, hexadecimal


@dataclass
class Aside:
    """What one collection has moved aside so far."""

    storage: Storage
    trash: Path
    _made: set[Path] = field(default_factory=set)

    @classmethod
    def open(cls, storage: Storage) -> Aside:
        """An empty trash beside the registry's files, on the same file system."""
        trash = storage.top / f"{TRASH}{secrets.token_hex(4)}"
        trash.mkdir()
        return cls(storage, trash)

    def take(self, part: Path) -> bool:
        """Move a part aside; false if it is not there."""
        target = self.place(part)
        if target.parent not in self._made:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(target.parent)
        try:
            part.rename(target)
        except FileNotFoundError:
            return False
        return True

    def place(self, part: Path) -> Path:
        """Where a part lies while it is aside."""
        return self.trash / part.relative_to(self.storage.top)

    def has(self, part: Path) -> bool:
        """Whether the part is aside."""
        return self.place(part).is_dir()

    def put_back(self, part: Path) -> bool:
        """Move a part back; false if it is not aside, or was pushed anew meanwhile."""
        return rename(self.place(part), part)

    def empty(self) -> None:
        """What is aside is gone for good."""
        gone = self.trash.with_name(self.trash.name.replace(TRASH, GONE))
        self.trash.rename(gone)
        remove(self.storage, gone)


def blob_link(storage: Storage, repository: str, digest: str) -> Path:
    """The folder by which a repository lists a blob."""
    return storage.folder(repository) / "_layers" / "sha256" / hexadecimal(digest)

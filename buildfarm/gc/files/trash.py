"""The trash of collections: what one that died left goes back, and what is gone for good is removed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from buildfarm.gc.storage import Storage

TRASH, GONE = "trash-", "gone-"

_PUSHED_ANEW = (errno.ENOTEMPTY, errno.EEXIST)  # in this moment


def recover(storage: Storage) -> int:
    """Ends what collections left that died: returns how many parts went back."""
    count = 0
    for trash in sorted(storage.top.glob(f"{TRASH}*")):
        for pattern in ("blobs/sha256/*/*", "_layers/sha256/*", "_manifests/revisions/sha256/*", "_manifests/tags/*"):
            # In this order nothing comes back before what it is made of.
            for part in _parts(trash, pattern):
                count += rename(part, storage.top / part.relative_to(trash))
        shutil.rmtree(trash)
    for gone in storage.top.glob(f"{GONE}*"):
        remove(storage, gone)
    return count


def left_over(storage: Storage) -> bool:
    """Whether a collection died before it was done."""
    return any(storage.top.glob(f"{TRASH}*")) or any(storage.top.glob(f"{GONE}*"))


def _parts(trash: Path, pattern: str) -> Iterator[Path]:
    if pattern.startswith("blobs"):
        yield from list(trash.glob(pattern))
        return
    for folder, inner, _ in os.walk(trash / "repositories"):
        own, _, rest = pattern.partition("/")
        if own in inner:
            yield from list((Path(folder) / own).glob(rest))
        inner[:] = [name for name in inner if not name.startswith("_")]


def rename(source: Path, target: Path) -> bool:
    """Move a part; false if it is not there, or its target was pushed anew. Raises OSError if it cannot be moved."""
    if not source.is_dir() or target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in _PUSHED_ANEW:
            raise  # what called would take the part for one that is not needed
        return False
    return True


def remove(storage: Storage, gone: Path) -> None:
    """The trash, and the entries in the histories of tags of the manifests in it."""
    for part in _parts(gone, "_manifests/revisions/sha256/*"):
        manifests = storage.top / part.parents[2].relative_to(gone)
        if not (manifests / "revisions" / "sha256" / part.name).exists():
            for entry in manifests.glob(f"tags/*/index/sha256/{part.name}"):
                shutil.rmtree(entry, ignore_errors=True)
    shutil.rmtree(gone)

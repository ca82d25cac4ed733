"""Every content once: equal files become hard links. Many licences are one text under many names."""

import hashlib
import os
from pathlib import Path


def keep_once(tree: Path) -> None:
    """Links files of equal content and permissions below ``tree``; the first by name is the one that stays."""
    first: dict[tuple[str, int], Path] = {}
    for path in sorted(tree.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        key = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode
        kept = first.setdefault(key, path)
        if kept is not path and not path.samefile(kept):
            path.unlink()
            os.link(kept, path)

"""A workspace goes away whatever a build left in it, also where the worker is not root."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from workers.sandbox.workspace import remove

NOBODY = 65534


@contextmanager
def without_roots_rights():
    """For the length of the block this process has an ordinary user's rights."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_folders_that_their_owner_may_not_write_are_removed_and_no_link_is_followed():
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o777)
        with without_roots_rights():
            other = Path(parent, "other")
            other.mkdir(mode=0o555)
            root = Path(parent, "workspace")
            module = root / "files" / "app" / "go" / "pkg" / "mod" / "example.org"
            module.mkdir(parents=True)
            (module / "go.mod").touch(mode=0o444)
            (module / "link").symlink_to(other)
            (module.parent / "shut").mkdir(mode=0)
            module.chmod(0o555)
            module.parent.chmod(0o555)
            remove(root)
            assert not root.exists()
            assert other.stat().st_mode & 0o777 == 0o555

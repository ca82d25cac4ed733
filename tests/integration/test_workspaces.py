"""Workspaces where a container's /dev is older than the loop devices of its host."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MAKE_TWO = """
import sys
from pathlib import Path
from workers.sandbox.workspace import Workspaces
workspaces = Workspaces(Path(sys.argv[1]), limit_bytes=64 * 1024**2, inodes=1000)
with workspaces.make("one") as one, workspaces.make("two") as two:
    assert one.mount.is_mount() and two.mount.is_mount()
"""
BARE_DEV = """
mount -t tmpfs dev /dev
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/urandom c 1 9
mknod /dev/loop-control c 10 237
exec "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_loop_device_without_a_file_gets_one(tmp_path):
    apart = ["unshare", "--mount", "--propagation", "private", "sh", "-c", BARE_DEV, "sh"]
    done = subprocess.run(
        [*apart, sys.executable, "-c", MAKE_TWO, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr

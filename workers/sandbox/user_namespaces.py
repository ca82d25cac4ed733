"""User namespaces that idmapped mounts take their owners from."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

from buildfarm.errors import NodeError


class Namespaces:
    """User namespaces that say which owner is seen as whom. Each is made once, for no process needs to be in it."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()

    def of(self, owner: int, seen_as: int) -> int:
        """The descriptor of one."""
        with self._lock:
            if (owner, seen_as) not in self._found:
                self._found[owner, seen_as] = _new_namespace(owner, seen_as)
            return self._found[owner, seen_as]


NAMESPACES = Namespaces()


def _new_namespace(owner: int, seen_as: int) -> int:
    command = ["unshare", "--user", "cat"]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None and process.stdout is not None
            # What comes back was read by a program that is in the namespace.
            process.stdin.write(b".")
            process.stdin.flush()
            process.stdout.read(1)
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{process.pid}/{name}").write_text(f"{owner} {seen_as} 1\n")
            return os.open(f"/proc/{process.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NodeError(f"The node cannot make a user namespace: {error.strerror}.") from error

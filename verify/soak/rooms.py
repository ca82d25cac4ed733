"""What a soak has on this machine: a file system in a file, two containers, and processes. Nothing of it stays.

``python -m verify.soak.rooms NAME`` is the guard: it reads until the process that has a soak is gone, however that
ended, and clears what is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from localfarm.packages import ensure_packages
from testkit.cluster.shell import mentioning, run, send, wait
from testkit.registry.own import USER

DISK_BYTES = 5 * 1000**3
_TOP = Path("/var/tmp")
_DONE = b"done"
_END_SECONDS = 30.0
NODE = "verify.soak.node"  # the module that nodes run; the name of the soak comes after it


@dataclass(frozen=True)
class Rooms:
    """The names of everything that a soak has."""

    name: str

    @property
    def folder(self) -> Path:
        """Files of it all."""
        return _TOP / self.name

    @property
    def disk(self) -> Path:
        """The registry's file system."""
        return self.folder / "registry"

    @property
    def containers(self) -> tuple[str, str]:
        """Redis's and the registry's."""
        return f"{self.name}-redis", f"{self.name}-registry"

    def addresses(self) -> tuple[str, str]:
        """Host and port of Redis and of the registry, past the engine's proxy: no node of a farm has one in its way."""
        own = [
            run("docker", "inspect", "--format={{.NetworkSettings.IPAddress}}", name).strip()
            for name in self.containers
        ]
        return f"{own[0]}:6379", f"{own[1]}:5000"

    def make(self) -> None:
        """The folder, and the file system in it."""
        ensure_packages({"mkfs.ext4": "e2fsprogs", "setpriv": "util-linux"}, print)
        self.disk.mkdir(parents=True)
        image = self.folder / "registry.ext4"
        with image.open("wb") as file:
            file.truncate(DISK_BYTES)
        run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        run("mount", "-o", "loop,noatime", image, self.disk)
        os.chown(self.disk, USER, USER)

    def processes(self) -> list[int]:
        """Nodes and collections that run, by their command lines."""
        return [*mentioning(f"{NODE}\0{self.name}\0"), *mentioning(f"buildfarm\0gc\0{self.disk}\0")]

    def clear(self) -> None:
        """Removes what is there of it. Processes have ended already, unless the one that has them was killed."""
        with suppress(TimeoutError):
            wait(lambda: not self.processes(), "they do not end", _END_SECONDS)
        for pid in self.processes():
            send(pid, signal.SIGKILL)
        for name in self.containers:
            run("docker", "rm", "--force", "--volumes", name, check=False)
        if self.disk.is_mount():
            with suppress(TimeoutError):
                wait(self._unmounted, "the registry's file system is busy", _END_SECONDS)
        if self.disk.is_mount():
            run("umount", "--lazy", self.disk, check=False)
        run("rm", "-rf", "--one-file-system", self.folder, check=False)

    def _unmounted(self) -> bool:
        run("umount", self.disk, check=False)
        return not self.disk.is_mount()


@contextmanager
def rooms() -> Iterator[Rooms]:
    """Everything is cleared at the end, by the guard if this process does not live to do it."""
    found = Rooms(f"buildfarm-soak-{os.getpid()}")
    command = [sys.executable, "-m", "verify.soak.rooms", found.name]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        found.make()
        yield found
    finally:
        found.clear()
        guard.communicate(_DONE, timeout=2 * _END_SECONDS)


def main() -> None:
    """The guard."""
    if sys.stdin.buffer.read() != _DONE:
        Rooms(sys.argv[1]).clear()


if __name__ == "__main__":
    main()

"""Power failures: the volume is a disk in a file, and what was not yet written to the disk is gone.

The server is stopped, its disk's file is copied, and the server is killed: the copy lacks what was only in the memory
of the mounted file system. A disk that forgets what it was told to keep is another matter, and is not tried.
"""

from __future__ import annotations

import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from testkit.cluster.shell import descendants, run, send
from testkit.table import Claims
from verify.images.conditions.databases import Database
from verify.images.conditions.server import Images, Server
from verify.images.conditions.starts import first_start
from verify.images.conditions.stops import load
from verify.images.conditions.users import survives

DISK_MB = 800
FIRST_STARTS = 10
LOAD_SECONDS = 4.0
COPIES = 10


@dataclass(frozen=True)
class Disk:
    """A file system in a file; ``folder`` has the file, and where it is mounted."""

    folder: Path

    @property
    def mounted(self) -> Path:
        """The file system's top."""
        return self.folder / "disk"

    @property
    def _file(self) -> Path:
        return self.folder / "disk.ext4"

    def make(self) -> None:
        """Makes and mounts it, empty and open to every user."""
        self.mounted.mkdir()
        run("truncate", f"--size={DISK_MB}M", self._file)
        run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self._file)
        self._mount()
        self.mounted.chmod(0o1777)
        run("sync", "--file-system", self.mounted)

    def lose_power(self, server: Server) -> None:
        """Ends the server, which has this volume, and leaves what was written to the disk by then."""
        left = self.folder / "left.ext4"
        freeze(server)
        for _ in range(COPIES):
            run("cp", "--sparse=always", self._file, left)
            if subprocess.run(["cmp", "--quiet", self._file, left], check=False).returncode == 0:
                break  # nothing was written meanwhile: it is the disk of one moment
        else:
            raise RuntimeError(f"{self._file} changed during each of {COPIES} copies")
        server.kill()
        run("docker", "wait", server.name)
        self.unmount()
        left.rename(self._file)
        # As at any boot; 1 says that something was corrected.
        checked = subprocess.run(["e2fsck", "-p", self._file], capture_output=True, text=True, check=False)
        assert checked.returncode <= 1, checked.stdout
        self._mount()

    def unmount(self) -> None:
        """Nothing is lost; it may be unmounted before."""
        run("umount", self.mounted, check=False)

    def _mount(self) -> None:
        run("mount", "-o", "loop,noatime", self._file, self.mounted)


def freeze(server: Server) -> None:
    """Stops its processes where they are. (The engine's own way fails while clients come and go.)"""
    first = int(run("docker", "inspect", "--format={{.State.Pid}}", server.name))
    for _ in range(2):  # one may have started another meanwhile
        for process in (first, *descendants(first)) if first else ():
            send(process, signal.SIGSTOP)


@contextmanager
def disk() -> Iterator[Disk]:
    """A disk for the length of the block."""
    with ExitStack() as undo:
        made = Disk(Path(undo.enter_context(tempfile.TemporaryDirectory())))
        undo.callback(made.unmount)
        made.make()
        yield made


def try_power(claims: Claims, images: Images, database: Database) -> None:
    """Power lost during a first start, under load, and under load with the setting that waits for the disk."""
    during_first_starts(claims, images, database)
    under_load(claims, images, database, "")
    if database.durable:
        under_load(claims, images, database, database.durable)


def during_first_starts(claims: Claims, images: Images, database: Database) -> None:
    """At a random moment each; started again, the database must be whole."""
    lasts, half, wrong = first_start(images, database), 0, []
    for _ in range(FIRST_STARTS):
        moment = random.uniform(0, lasts)
        with disk() as made, images.server(database, f"--volume={made.mounted}:/data") as server:
            time.sleep(moment)
            made.lose_power(server)
            server.start()
            if not (server.ready() and server.answers() and server.refuses() and survives(server)):
                wrong.append(f"after {moment:.2f} s: {server.state()} {server.log()[-300:]}")
            half += "interrupted" in server.log()
    figure = f"{FIRST_STARTS - len(wrong)} of {FIRST_STARTS} whole, {half} half-made ones made anew"
    claims.add(f"{database.title}: power lost during a first start", "; ".join([figure, *wrong])[:600], not wrong)


def under_load(claims: Claims, images: Images, database: Database, setting: str) -> None:
    """Rows are written; after the power failure those are there that must be."""
    options = (f"--env={database.settings}={setting}",) if setting else ()
    spared = 0.0 if setting else database.lost
    with disk() as made, images.server(database, f"--volume={made.mounted}:/data", *options) as server:
        assert server.ready(), server.log()
        server.ask(database.table)
        with load(server) as acknowledged:
            time.sleep(LOAD_SECONDS)
            certain = acknowledged[-1]
            time.sleep(spared)
            freeze(server)
            last = acknowledged[-1]
            must = certain if spared else last
            made.lose_power(server)
        server.start()
        found = int(server.ask(database.count) or 0) if server.ready() else -1
        whole = found >= must > 0 and server.refuses()
    kind = f"{database.title}: power lost under load" + (f", {setting}" if setting else "")
    figure = f"{last} rows acknowledged, {must} of them {spared:g} s before; {found} found" if spared else ""
    claims.add(kind, figure or f"{last} rows acknowledged, {found} found", whole)

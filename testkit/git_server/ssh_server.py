"""A real sshd, from Debian's package, that serves git repositories to the holders of some keys."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testkit.serving import free_port

_START_SECONDS = 60
# sshd needs its own user and folder; in a mount namespace the machine keeps neither.
_RUN = """
set -e
mount --make-rprivate /
cp /etc/passwd "$1/passwd"
grep -q ^sshd: "$1/passwd" || echo "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin" >>"$1/passwd"
mount --bind "$1/passwd" /etc/passwd
mkdir -p /run/sshd && chmod 0755 /run/sshd
export LD_LIBRARY_PATH="$(echo "$1"/unpacked/usr/lib/*-linux-gnu)"
exec "$2" -D -e -f "$1/sshd_config"
"""
_CONFIG = """
ListenAddress {address}:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin forced-commands-only
AllowTcpForwarding no
SetEnv GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*
"""


# What a key opens: git's own shell, and git-lfs-authenticate, whose answer is a file; @PATH@ in it is the repository's.
_SHELL = """#!/bin/sh
set -- $SSH_ORIGINAL_COMMAND
if [ "$1" = git-lfs-authenticate ] && [ -f "{folder}/lfs.json" ]; then
  exec sed "s|@PATH@|$2|" "{folder}/lfs.json"
fi
exec git-shell -c "$SSH_ORIGINAL_COMMAND"
"""


@dataclass(frozen=True)
class SshServer:
    """A running sshd; ``url`` is an address of root's git repositories, which a path is put behind."""

    folder: Path
    url: str

    def allow(self, keys: Sequence[str]) -> None:
        """From now on these public keys may fetch, and no other."""
        shell = f'command="{self.folder}/shell",restrict'
        (self.folder / "keys").write_text("".join(f"{shell} {key}\n" for key in keys))

    def authenticate(self, answer: str) -> None:
        """From now on git-lfs-authenticate gives this answer; an empty one: the server does not have it."""
        place = self.folder / "lfs.json"
        place.write_text(answer) if answer else place.unlink(missing_ok=True)

    @property
    def host_key(self) -> str:
        """The server's public key."""
        return (self.folder / "host.pub").read_text()


def make_key(path: Path) -> tuple[str, str]:
    """A new key without a passphrase: its private and its public half."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path.read_text(), path.with_name(f"{path.name}.pub").read_text().strip()


@contextmanager
def ssh_server(address: str, port: int = 0) -> Iterator[SshServer]:
    """A server on this address for the length of the block, with a new host key. Only root can start it."""
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="buildfarm-sshd-") as name:
        folder = Path(name)
        make_key(folder / "host")
        (folder / "keys").write_text("")
        (folder / "shell").write_text(_SHELL.format(folder=folder))
        (folder / "shell").chmod(0o755)
        (folder / "sshd_config").write_text(_CONFIG.format(address=address, port=port, folder=folder))
        command = ["unshare", "--mount", "sh", "-c", _RUN, "sshd", name, _program(folder)]
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
            try:
                _wait(address, port, process, folder / "log")
                yield SshServer(folder, f"ssh://root@{address}:{port}")
            finally:
                process.terminate()


def _program(folder: Path) -> str:
    """The machine's sshd, else the distribution's, unpacked and not installed."""
    if found := shutil.which("sshd", path="/usr/sbin"):
        return found
    download = ["apt-get", "download", "-qq", "openssh-server", "libwrap0"]
    subprocess.run(download, cwd=folder, check=True, capture_output=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(folder / "unpacked")], check=True)
    return str(folder / "unpacked/usr/sbin/sshd")


def _wait(address: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline, pause = time.monotonic() + _START_SECONDS, threading.Event()
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        try:
            socket.create_connection((address, port), 1).close()
        except OSError:
            pause.wait(0.05)
        else:
            return

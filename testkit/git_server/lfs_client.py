"""Commits and sends files as the real git-lfs of Debian does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testkit.git_server import Repository


@dataclass(frozen=True)
class LfsClient:
    """git with git-lfs, which trusts ``authority``."""

    folder: Path
    program: Path
    authority: Path

    def commit(self, repository: Repository, files: Mapping[str, str | bytes], *, track: str = "*.bin") -> str:
        """Point main of a repository at a commit of these files, the ``track``ed ones as pointers; its id."""
        checkout = self._checkout(repository)
        self._lfs(checkout, "install", "--local", "--skip-smudge")
        self._lfs(checkout, "track", track)
        for name, content in files.items():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        self._git(checkout, "add", "--all", "--force")
        self._git(checkout, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "a change")
        self._git(checkout, "push", "-q", "--no-verify", "--force", str(repository.path), "HEAD:refs/heads/main")
        repository.git("update-server-info")
        return self._git(checkout, "rev-parse", "HEAD")

    def send(self, repository: Repository, url: str) -> None:
        """Send the content of all that `commit` has committed to the LFS server of this address."""
        self._lfs(self._checkout(repository), "push", "--all", url)

    def pulled(self, url: str, name: str) -> bytes:
        """A file as a clone with git-lfs has it."""
        place = self.folder / "clone"
        shutil.rmtree(place, ignore_errors=True)
        self._git(self.folder, "clone", "-q", url, str(place))
        self._lfs(place, "install", "--local")
        self._lfs(place, "pull")
        return (place / name).read_bytes()

    def push(self, repository: Repository, url: str, *arguments: str) -> tuple[bool, str]:
        """Whether `git push` of what `commit` made ends well with the hook of git-lfs, and what its user reads."""
        done = self._run(self._checkout(repository), "push", *arguments, url, "main")
        return done.returncode == 0, done.stdout.decode() + done.stderr.decode()

    def _checkout(self, repository: Repository) -> Path:
        place = self.folder / f"work-{repository.path.name}"
        if not place.exists():
            self._git(self.folder, "init", "-q", "-b", "main", str(place))
        return place

    def _lfs(self, place: Path, *arguments: str) -> str:
        return self._git(place, "lfs", *arguments)

    def _git(self, place: Path, *arguments: str) -> str:
        done = self._run(place, *arguments)
        assert done.returncode == 0, f"git {arguments}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    def _run(self, place: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        environment = {
            **os.environ, "PATH": f"{self.program}:{os.environ['PATH']}", "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_SSL_CAINFO": str(self.authority),
            "HOME": str(self.folder),
        }  # fmt: skip
        return subprocess.run(["git", *arguments], cwd=place, env=environment, capture_output=True, check=False)


def lfs_client(folder: Path, authority: str) -> LfsClient:
    """A client that keeps its work in a new folder: the machine's git-lfs, else the distribution's, unpacked there."""
    folder.mkdir()
    (folder / "authority.pem").write_text(authority)
    if found := shutil.which("git-lfs"):
        return LfsClient(folder, Path(found).parent, folder / "authority.pem")
    subprocess.run(["apt-get", "download", "-qq", "git-lfs"], cwd=folder, check=True, capture_output=True)
    (package,) = folder.glob("git-lfs*.deb")
    subprocess.run(["dpkg-deb", "--extract", str(package), str(folder / "unpacked")], check=True)
    return LfsClient(folder, folder / "unpacked/usr/bin", folder / "authority.pem")

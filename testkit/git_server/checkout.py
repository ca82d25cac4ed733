"""A developer's repository, from which is pushed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_COMMITTER = {"GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "test@example.org"}


@dataclass(frozen=True)
class Checkout:
    """A developer's repository, from which is pushed."""

    path: Path

    @classmethod
    def made(cls, path: Path, files: Mapping[str, str | bytes]) -> Checkout:
        """A new one on the branch main, with a commit of these files."""
        path.mkdir(parents=True)
        checkout = cls(path)
        checkout.git("init", "-q", "-b", "main")
        checkout.commit(files)
        return checkout

    def commit(self, files: Mapping[str, str | bytes], *arguments: str) -> str:
        """Commit these files, by their paths; the commit's id."""
        for name, content in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "--all", "--force")
        self.git("commit", "-q", "--allow-empty", "-m", "a change", *arguments)
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        """What a git command prints."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env=self._environment(), input=stdin, check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    def push(self, url: str, *arguments: str) -> tuple[bool, str]:
        """Push, and return whether git ended well and what its user reads."""
        process = self.pushing(url, *arguments)
        output, _ = process.communicate(timeout=300)
        return process.returncode == 0, output.decode()

    def pushing(self, url: str, *arguments: str) -> subprocess.Popen[bytes]:
        """A push that has just begun, with all that it says in its standard output."""
        return subprocess.Popen(
            ["git", "push", url, *(arguments or ("main",))],
            cwd=self.path, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        author = {name.replace("COMMITTER", "AUTHOR"): value for name, value in _COMMITTER.items()}
        return {
            **os.environ, **_COMMITTER, **author, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8",
        }  # fmt: skip

"""The tree of a pushed commit: its size is looked at before a file is written, and then it is checked out."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import IO

from buildfarm.api.routes.git_push.git import Git, GitError
from buildfarm.errors import SourceError, TooLargeError
from buildfarm.oci.tree import LIMITS, TreeLimits

_PIECE_BYTES = 64 * 1024
_LISTING_SECONDS = 60
_ADVICE = "Remove the files that the app does not need, and push again."


def check_out(git: Git, oid: str, limit_bytes: int) -> tuple[str, Path]:
    """The commit that an object is or names, and the folder with its files.

    Files are as a fresh clone has them: line ends by .gitattributes, `export-ignore` without effect, submodules empty,
    LFS pointers as pointers. Raises SourceError and TooLargeError.
    """
    try:
        commit = git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{oid}^{{commit}}")
    except GitError as error:
        raise SourceError("What was pushed is not a commit.", advice="Push a branch: git push FARM main.") from error
    _check_size(git, commit, limit_bytes)
    try:
        git.run("read-tree", "-m", "-u", commit)
    except GitError as error:
        raise SourceError(f"git cannot check out {commit}: {error}.", advice="Run git fsck, and push again.") from error
    git.lock()
    return commit, git.tree


def _check_size(git: Git, commit: str, limit_bytes: int) -> None:
    """Read the listing only as far as it is within the limits: a small pack can name more files than any disk has."""
    size = _Size(limit_bytes)
    # With folders (-t): trees that share their content can have far more of them than files.
    with git.start("ls-tree", "-r", "-t", "-l", "-z", "--full-tree", commit, stdout=subprocess.PIPE) as process:
        watchdog = Timer(_LISTING_SECONDS, process.kill)
        watchdog.start()
        try:
            for about, path in _entries(process.stdout):
                size.add(about, path)
        except BaseException:
            process.kill()
            raise
        finally:
            watchdog.cancel()
    if process.returncode == -signal.SIGKILL:
        raise TooLargeError(f"git did not list the commit's files in {_LISTING_SECONDS} s.", advice=_ADVICE)
    if process.returncode != 0:
        raise SourceError(f"git cannot list {commit}: {git.errors()}.", advice="Run git fsck, and push again.")
    if not size.files:
        raise SourceError("The commit has no files.", advice="Commit the app's files, and push again.")


@dataclass
class _Size:
    """How large the tree is, as far as it was listed."""

    limit_bytes: int
    limits: TreeLimits = LIMITS
    entries: int = 0
    files: int = 0
    total_bytes: int = 0
    paths_bytes: int = 0

    def add(self, about: bytes, path: bytes) -> None:
        """Count an entry; only a file has a size. Raises TooLargeError."""
        _, kind, _, size = about.split()
        self.entries += 1
        self.files += kind == b"blob"
        self.paths_bytes += len(path)
        self.total_bytes += int(size) if size.isdigit() else 0
        for what, found, limit in (
            ("{:,} bytes of files", self.total_bytes, self.limit_bytes),
            ("{:,} files and folders", self.entries, self.limits.entries),
            ("{:,} bytes of paths", self.paths_bytes, self.limits.paths_bytes),
            ("{:,} folders within each other", path.count(b"/"), self.limits.depth),
        ):
            if found > limit:
                raise TooLargeError(f"The commit has more than {what.format(limit)}.", advice=_ADVICE)


def _entries(output: IO[bytes] | None) -> Iterator[tuple[bytes, bytes]]:
    """Mode, kind, object and size of each entry, and its path (git-ls-tree, with -l and -z)."""
    rest = b""
    while output and (piece := output.read(_PIECE_BYTES)):
        *whole, rest = (rest + piece).split(b"\0")
        for entry in whole:
            about, _, path = entry.partition(b"\t")
            yield about, path

"""git as a program that reads what an untrusted client sent: no configuration but ours, little memory, another user."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildfarm.errors import SetupError
from buildfarm.sources.listing import printable

SECONDS = 300  # of one command; of these it may also use no more of a processor
MEMORY_BYTES = 256 * 1024 * 1024  # of one push; in the chart, git's memory counts as the API's

_PROGRAMS = {"git": "git", "prlimit": "util-linux", "choom": "util-linux", "nice": "coreutils", "tar": "tar"}
_FILES_MAX = 256
_NOBODY = 65534
_ERRORS_BYTES = 4096
# One thread, and buffers that fit into the memory. What is larger than a MiB is not held as a whole.
_OPTIONS = {
    "core.bigFileThreshold": "1m", "core.deltaBaseCacheLimit": "32m", "core.packedGitWindowSize": "8m",
    "core.packedGitLimit": "64m", "core.hooksPath": os.devnull, "core.fsmonitor": "false", "pack.threads": "1",
    "gc.auto": "0", "core.multiPackIndex": "false",
}  # fmt: skip
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
}


def check_programs() -> None:
    """Raises SetupError that names what is missing to take pushes."""
    missing = sorted(
        {package for program, package in _PROGRAMS.items() if shutil.which(program, path=_ENVIRONMENT["PATH"]) is None}
    )
    if missing:
        raise SetupError(
            f"BUILDFARM_GIT_PUSH is on, and the API's machine lacks {', '.join(missing)}.",
            advice="Install them (apt-get install git util-linux tar), or turn the setting off.",
        )


@dataclass(frozen=True)
class Git:
    """Runs git on `repository`, with the work tree `tree`.

    If this process is root, git runs as the user nobody, and can write to one folder in ``folder`` alone.
    """

    folder: Path
    file_bytes: int  # no file that it writes is larger

    @property
    def repository(self) -> Path:
        """The objects."""
        return self.folder / "git/repository"

    @property
    def tree(self) -> Path:
        """The files of a commit that was checked out."""
        return self.folder / "git/tree"

    @property
    def _errors(self) -> Path:
        return self.folder / "errors"  # where git cannot make it a link

    def prepare(self) -> None:
        """Make the folders and an empty repository. Raises GitError."""
        for path in (self.tree.parent, self.tree):
            path.mkdir(0o700)
            if os.geteuid() == 0:
                os.chown(path, _NOBODY, _NOBODY)
        self.folder.chmod(0o711)
        self.run("init", "--quiet", "--template=")
        attributes = self.repository / "info/attributes"  # before those of the tree (gitattributes)
        attributes.parent.mkdir()
        attributes.write_text("* !ident !working-tree-encoding\n")  # they make files many times larger

    def lock(self) -> None:
        """Only this process reaches from now on what git left."""
        self.folder.chmod(0o700)

    def run(self, *arguments: str) -> str:
        """What a command prints; it must be little. Raises GitError."""
        with self.start(*arguments, stdout=subprocess.PIPE) as process:
            try:
                output, _ = process.communicate(timeout=SECONDS)
            except BaseException as error:
                process.kill()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise GitError(f"it did not end within {SECONDS} s") from error
                raise
        if process.returncode != 0:
            raise GitError(self.errors())
        return str(output.decode(errors="replace").strip())

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL, stdout: int) -> subprocess.Popen[bytes]:
        """A command that the caller ends."""
        limits = {"as": MEMORY_BYTES, "cpu": SECONDS, "fsize": self.file_bytes, "nofile": _FILES_MAX, "core": 0}
        options = [word for name, value in _OPTIONS.items() for word in ("-c", f"{name}={value}")]
        # If the machine's memory runs short, git ends first. A container's limit may end the API with it: so little.
        command = [
            "nice",
            "choom",
            "-n",
            "1000",
            "--",
            "prlimit",
            *(f"--{name}={value}" for name, value in limits.items()),
        ]
        with self._errors.open("wb") as errors:
            return subprocess.Popen(
                [*command, "--", "git", *options, *arguments],
                stdin=stdin, stdout=stdout, stderr=errors, cwd=self.tree, env=self._environment(), umask=0o022,
                **_as_nobody(),
            )  # fmt: skip

    def errors(self) -> str:
        """What the newest command complained of: its last lines."""
        with self._errors.open("rb") as errors:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - _ERRORS_BYTES))
            lines = [printable(line) for line in errors.read().decode(errors="replace").splitlines()]
        told = [line.partition(": ")[2] or line for line in lines if line.strip()]
        return "; ".join(told[-2:])[:400] or "it ended without a message"

    def _environment(self) -> Mapping[str, str]:
        places = {"HOME": self.tree.parent, "GIT_DIR": self.repository, "GIT_WORK_TREE": self.tree}
        return {**_ENVIRONMENT, **{name: str(place) for name, place in places.items()}}


class GitError(Exception):
    """git refused; what it said."""


def _as_nobody() -> dict[str, Any]:
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}

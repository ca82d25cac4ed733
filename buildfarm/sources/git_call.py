"""git as a program that reads a checkout which may be anybody's.

A checkout's configuration can name programs. ``git ls-files`` and ``git check-ignore`` run no filter and write nothing.
What else they could start is switched off: the file system monitor, hooks, a pager, and every transport, which a
partial clone would use to fetch what is missing.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from buildfarm.errors import SourceError

_SECONDS = 60

_OFF = (
    "--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "core.sshCommand=false",
    "-c", "safe.bareRepository=explicit", "-c", "submodule.recurse=false",
)  # fmt: skip
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}


class NoAnswerError(Exception):
    """git failed or took too long."""


class GitCall:
    """git in a folder."""

    def __init__(self, program: str, folder: Path, above: bool) -> None:
        self._program = program
        self._folder = folder
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        self._environment |= _ENVIRONMENT
        if not above:
            self._environment["GIT_CEILING_DIRECTORIES"] = str(folder.resolve().parent)

    def run(self, *arguments: str, names: list[bytes] | None = None, none_found: int = 0) -> list[bytes]:
        """What it prints, split at each NUL. Raises NoAnswerError, and SourceError if it cannot read a folder."""
        command = [self._program, *_OFF, *arguments]
        given = b"".join(name + b"\0" for name in names or ())
        try:
            ended = subprocess.run(
                command,
                cwd=self._folder,
                env=self._environment,
                input=given,
                capture_output=True,
                check=False,
                timeout=_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoAnswerError from error
        if ended.returncode not in (0, none_found):
            raise NoAnswerError
        for line in ended.stderr.splitlines():
            if b"could not open directory" in line:
                said = line.decode(errors="replace").removeprefix("warning: ")
                raise SourceError(f"A folder of the source cannot be read: git {said}.")
        return ended.stdout.split(b"\0")[:-1]

"""Asks a host over ssh for its LFS server ("Server Discovery" of github.com/git-lfs/git-lfs, "SSH")."""

from __future__ import annotations

import json
import shlex
import subprocess
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import urlsplit

from workers.fetch.inside.lfs.answers import address_of, say
from workers.fetch.inside.refused import RefusedError

_SECONDS = 60
_BOUNDED = ("sh", "-c", 'ulimit -f 2048 && exec "$@"', "sh")  # files of 1 or 2 MiB: what the host says fills no memory


def over_ssh(job: dict[str, Any], address: str, environment: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The LFS server's address, and the headers that it gets. Raises RefusedError.

    The host of the credential chooses them, and is known by its host key; the key itself goes nowhere else.
    """
    url, host = urlsplit(address), str(job["host"]).partition(":")[0]
    to = f"{url.username}@{host}" if url.username else host
    ssh = environment["GIT_SSH_COMMAND"].split()
    command = [*_BOUNDED, *ssh, "--", to, f"git-lfs-authenticate {shlex.quote(url.path)} download"]
    try:
        with TemporaryFile() as answer, TemporaryFile() as words:
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=answer, stderr=words, timeout=_SECONDS,
                check=False,
            )  # fmt: skip
            for file in (answer, words):
                file.seek(0)
            if said := words.read():
                say(said.decode(errors="replace"))
            done.check_returncode()
            return _given(answer.read(), f"https://{host}{url.path.removesuffix('.git')}.git/info/lfs")
    except (ValueError, TypeError, AttributeError, subprocess.SubprocessError) as error:
        say("git-lfs-authenticate did not answer with an address of https.")
        raise RefusedError("lfs-ssh", host) from error


def _given(answer: bytes, usual: str) -> tuple[str, dict[str, str]]:
    """The address and the headers of an answer. Raises ValueError, TypeError or AttributeError."""
    place, headers = address_of({"href": usual, **json.loads(answer)})
    if urlsplit(place).scheme != "https" or "?" in place or "#" in place:
        raise ValueError("it is not an address with TLS and a path")
    return place.rstrip("/"), headers

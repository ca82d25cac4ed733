"""Puts the content of a commit's Git LFS files in the place of their pointers, as `git lfs pull` does.

No program of Git LFS runs: no filter, no extension, no transfer agent. Each object must have the size and the SHA-256
of its pointer, and all of them must fit into the limits before the first one is asked for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from workers.fetch.inside.lfs.address import server_of
from workers.fetch.inside.lfs.answers import say
from workers.fetch.inside.lfs.authenticate import over_ssh
from workers.fetch.inside.lfs.pointer import BYTES_MAX, Pointer, parse
from workers.fetch.inside.lfs.server import Server
from workers.fetch.inside.refused import NO_SPACE, RefusedError

OBJECTS_MAX = 10_000
_SECONDS_MAX = 600
_BATCH, _AT_ONCE = 100, 8  # as git-lfs has them
_AT_A_TIME = 1000
_FILES = (b"100644", b"100755")


class Repository(Protocol):
    """A checked-out commit."""

    job: dict[str, Any]
    into: Path
    environment: dict[str, str]

    def run(self, *arguments: str) -> tuple[bool, str, str]: ...
    def read(self, *arguments: str, stdin: bytes = b"") -> bytes: ...


def fetch(git: Repository) -> int:
    """Fetch the content of all Git LFS files of HEAD, and return its bytes. Raises RefusedError."""
    wanted = _wanted(git)
    total = sum(pointer.size * len(paths) for pointer, paths in wanted.items())
    limit = git.job["lfs_bytes"]
    if total > limit:
        largest = max(wanted, key=lambda one: one.size)
        raise RefusedError(
            "lfs-large",
            f"{total:,} bytes, of which {wanted[largest][0]} has {largest.size:,}; there is room for {limit:,}",
        )
    if len(wanted) > OBJECTS_MAX:
        raise RefusedError("lfs-large", f"{len(wanted):,} files; the limit is {OBJECTS_MAX:,}")
    if not wanted:
        return 0
    say(f"Fetching {len(wanted):,} Git LFS objects, {total:,} bytes in all")
    server = _server(git)
    todo = list(wanted)
    for start in range(0, len(todo), _BATCH):
        some = todo[start : start + _BATCH]
        put = partial(_put, git, server, wanted, server.batch(some))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(put, some))
    return total


def _wanted(git: Repository) -> dict[Pointer, list[str]]:
    """The pointers of HEAD, and the files of each: those whose attributes give them to Git LFS."""
    small = {}
    for row in git.read("ls-tree", "-r", "-l", "-z", "--full-tree", "HEAD").split(b"\0")[:-1]:
        about, _, path = row.partition(b"\t")
        mode, _, blob, size = about.split()
        if mode in _FILES and int(size) <= BYTES_MAX:
            small[path] = blob
    listed = git.read("check-attr", "--stdin", "-z", "filter", stdin=b"".join(path + b"\0" for path in small))
    fields = listed.split(b"\0")
    chosen = [path for path, value in zip(fields[::3], fields[2::3], strict=False) if value == b"lfs"]
    wanted: dict[Pointer, list[str]] = {}
    for path, text in zip(chosen, _contents(git, [small[path] for path in chosen]), strict=True):
        name = os.fsdecode(path)
        try:
            pointer = parse(text)
        except ValueError as error:
            raise RefusedError("lfs-extension", name) from error
        if pointer is not None:
            wanted.setdefault(pointer, []).append(name)
    return wanted


def _contents(git: Repository, blobs: list[bytes]) -> Iterator[bytes]:
    """What each of these has (git-cat-file, "BATCH OUTPUT"). They are read in parts: not all fit into the memory."""
    for start in range(0, len(blobs), _AT_A_TIME):
        some = blobs[start : start + _AT_A_TIME]
        output, at = git.read("cat-file", "--batch", stdin=b"".join(blob + b"\n" for blob in some)), 0
        for _ in some:
            end = output.index(b"\n", at)
            size = int(output[at:end].split()[2])
            yield output[end + 1 : end + 1 + size]
            at = end + size + 2


def _server(git: Repository) -> Server:
    pattern = r"^(lfs\.url|remote\.origin\.lfsurl)$"
    good, listed, _ = git.run("config", "--blob", "HEAD:.lfsconfig", "--no-includes", "--null", "--get-regexp", pattern)
    named = dict(line.partition("\n")[::2] for line in listed.split("\0") if line) if good else {}
    deadline = time.monotonic() + _SECONDS_MAX
    address = server_of(git.job, named.get("lfs.url") or named.get("remote.origin.lfsurl") or "")
    headers: dict[str, str] = {}
    if urlsplit(address).scheme == "ssh":
        address, headers = over_ssh(git.job, address, git.environment)
    return Server(git.job, address, headers, deadline)


def _put(
    git: Repository,
    server: Server,
    wanted: dict[Pointer, list[str]],
    found: dict[str, dict[str, Any]],
    pointer: Pointer,
) -> None:
    """Fetch an object, and make it the content of its files, whose modes stay."""
    paths, made = wanted[pointer], git.into / ".git" / f"lfs-{pointer.oid}-{pointer.size}"
    try:
        if pointer == Pointer(hashlib.sha256().hexdigest(), 0):
            made.touch()
        else:
            server.download(pointer, found.get(pointer.oid, {}), paths[0], made)
        for path in paths[1:]:
            _move(Path(shutil.copyfile(made, made.with_suffix(".copy"))), git.into / path)
        _move(made, git.into / paths[0])
    except OSError as error:
        say(f"{paths[0]} cannot be written: {error}")
        raise RefusedError("space" if error.errno in NO_SPACE else "failed") from error


def _move(new: Path, file: Path) -> None:
    new.chmod(file.lstat().st_mode & 0o777)
    new.replace(file)

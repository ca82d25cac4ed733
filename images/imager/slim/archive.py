"""A vendor's archive: fetched, checked against its SHA-256, and unpacked beside the packages."""

import hashlib
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from problem import Problem, say

CHUNK_BYTES = 1024 * 1024
SECONDS = 30


class ArchiveError(Problem):
    """The archive is not available, or is another one."""


def unpack_archive(archive: dict, recipe: Path, scratch: Path, root: Path) -> None:
    """Leaves the archive's single top folder at ``into`` below ``root``."""
    file = recipe / "archive"  # what came with the recipe is taken first, and checked like any other
    if not file.is_file():
        file = scratch / "archive"
        fetch(archive["url"], file)
    check(file, archive["sha256"])
    unpacked = scratch / "unpacked"
    try:
        with tarfile.open(file) as tar:
            tar.extractall(unpacked, filter="data")
    except tarfile.TarError as error:
        raise ArchiveError(f"The archive cannot be unpacked: {error}") from error
    tops = list(unpacked.iterdir())
    if len(tops) != 1 or not tops[0].is_dir():
        raise ArchiveError(f"The archive has {len(tops)} entries at its top, and must have a single folder.")
    target = root / archive["into"].lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(tops[0], target)
    say(f"the archive is checked and unpacked; its licence is {archive['licence']}")


def fetch(url: str, file: Path) -> None:
    say(f"fetching {url}")
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer, file.open("wb") as out:
            shutil.copyfileobj(answer, out, CHUNK_BYTES)
    except (urllib.error.URLError, OSError) as error:
        raise ArchiveError(f"The archive is not reachable: {url}: {getattr(error, 'reason', error)}") from error


def check(file: Path, sha256: str) -> None:
    total = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            total.update(chunk)
    if total.hexdigest() != sha256:
        raise ArchiveError(f"The archive has the SHA-256 {total.hexdigest()}, but {sha256} is expected.")

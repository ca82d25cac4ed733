"""A git checkout as git finds it from a folder, and what its files say (gitrepository-layout(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from buildfarm.sources.gitfiles.config import GitSettings, read_settings
from buildfarm.sources.gitfiles.ignore_rules import RuleFile, parse
from buildfarm.sources.gitfiles.index import Index, read_index

_FILE_BYTES_MAX = 100 * 1024 * 1024  # of an ignore file, as git has it


@dataclass(frozen=True)
class Checkout:
    """A folder with its repository; ``git_folder`` is None if there is none, or if it cannot be found from here."""

    top: Path
    git_folder: Path | None

    @property
    def common_folder(self) -> Path | None:
        """What all worktrees of the repository share."""
        if self.git_folder is None:
            return None
        named = _first_line(self.git_folder / "commondir")
        return self.git_folder / os.fsdecode(named) if named else self.git_folder

    def settings(self) -> GitSettings:
        """What git's configuration says."""
        return read_settings(self.common_folder, self.top, os.environ)

    def index(self, settings: GitSettings) -> Index:
        """What is tracked."""
        if self.git_folder is None:
            return Index()
        return read_index(self.git_folder / "index", id_bytes=settings.id_bytes)

    def rule_files(self, settings: GitSettings) -> Iterator[RuleFile]:
        """Ignore files for the whole checkout, which weigh less than those in its folders."""
        if self.common_folder is not None:
            yield from rule_file(self.common_folder / "info/exclude", ".git/info/exclude", b"", settings)
        if settings.excludes_file is not None:
            yield from rule_file(settings.excludes_file, str(settings.excludes_file), b"", settings)


def find_checkout(folder: Path, *, above: bool) -> Checkout:
    """The checkout that a folder lies in, or the folder without a repository; ``above`` also looks in its parents."""
    folder = folder.resolve()
    for place in (folder, *folder.parents) if above else (folder,):
        if place.stat().st_dev != folder.stat().st_dev:  # nor does git look there
            break
        dot_git = place / ".git"
        if os.access(dot_git, os.F_OK) and dot_git.is_file():
            # git refuses to go on if it leads nowhere, as in a copy of a worktree or of a submodule.
            return Checkout(place, repository_at(dot_git))
        if found := repository_at(dot_git):
            return Checkout(place, found)
    return Checkout(folder, None)


def repository_at(dot_git: Path) -> Path | None:
    """The repository that this ``.git`` is, or that it names; None if it does neither."""
    try:
        folder = _named_by(dot_git)
        common = folder / os.fsdecode(_first_line(folder / "commondir") or b".")
        is_repository = (folder / "HEAD").exists() and (common / "objects").is_dir() and (common / "refs").is_dir()
    except OSError:
        return None
    return folder if is_repository else None


def _named_by(dot_git: Path) -> Path:
    if not dot_git.is_file():
        return dot_git
    line = _first_line(dot_git)
    if not line.startswith(b"gitdir: "):
        raise FileNotFoundError(dot_git)
    return dot_git.parent / os.fsdecode(line.removeprefix(b"gitdir: "))


def rule_file(path: Path, origin: str, base: bytes, settings: GitSettings, *, links: bool = True) -> Iterator[RuleFile]:
    """The rules in a file, if there are any; git reads none that is a link inside a checkout."""
    flags = os.O_RDONLY | os.O_NONBLOCK | (0 if links else os.O_NOFOLLOW)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            content = file.read(_FILE_BYTES_MAX)
    except (OSError, ValueError):  # the latter of a path with a NUL, as a configuration can have it
        return
    if rules := parse(content, ignore_case=settings.ignore_case):
        yield RuleFile(origin, base.lower() if settings.ignore_case else base, rules)


def _first_line(path: Path) -> bytes:
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.readline(4096).rstrip(b"\r\n")
    except OSError:
        return b""

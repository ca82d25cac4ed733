"""Generated checkouts: a source has the files that git lists, whether git is asked, hidden or has no repository.

A hundred examples; BUILDFARM_EXAMPLES asks for another number of them.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm.errors import SourceError
from buildfarm.sources.choice import choose

EXAMPLES = int(os.environ.get("BUILDFARM_EXAMPLES", "100"))
LIMIT = 1_000_000
NO_COMMIT = "0123456789012345678901234567890123456789"

PARTS = st.sampled_from([b"a", b"b", b"c.log", b"build", b"Icon", b"Icon\r", b"\xff", "é".encode(), b"x y ", b"[a]"])
PATHS = st.lists(PARTS, min_size=1, max_size=3).map(b"/".join)
TOKENS = st.sampled_from(
    ["a", "b", "c.log", "build", "Icon", "*", "**", "**/", "?", "/", "[", "[ab]", "[!a]", "[]]", "[[:alpha:]]", "\\",
     " ", "é", "!", "#", "\r", ".", "[b-", "\\ ", "\0"]
)  # fmt: skip
LINES = st.one_of(
    st.lists(TOKENS, min_size=1, max_size=4).map(lambda tokens: "".join(tokens).encode()),
    st.sampled_from(
        [b"*.log", b"!c.log", b"build/", b"/a", b"build/**", b"**/b", b"a/", b"!b", b"Icon\r\r", b"\xff", b"*"]
    ),
)
IGNORE_FILES = st.tuples(
    st.sampled_from([b"", b"\xef\xbb\xbf"]), st.lists(LINES, max_size=3), st.sampled_from([b"\n", b"\r\n"])
).map(lambda parts: parts[0] + parts[2].join(parts[1]))


@dataclass(frozen=True)
class Tree:
    """What one repository has: files, and which of them it tracks, and of those which are deleted or folders now."""

    files: list[bytes]
    tracked: list[bytes]
    deleted: list[bytes]
    became_folders: list[bytes]
    links: list[bytes]
    ignore_files: dict[bytes, bytes]  # by the folder that they are in
    exclude: bytes
    index_version: int
    split: bool


@st.composite
def trees(draw, files=6):
    paths = draw(st.lists(PATHS, min_size=1, max_size=files, unique=True))
    some = st.lists(st.sampled_from(paths), max_size=4, unique=True)
    folders = sorted({b"", *(path.rpartition(b"/")[0] for path in paths)})
    return Tree(
        paths,
        draw(some),
        draw(st.lists(st.sampled_from(paths), max_size=1)),
        draw(st.lists(st.sampled_from(paths), max_size=1)),
        draw(st.lists(st.sampled_from(paths), max_size=1)),
        draw(st.dictionaries(st.sampled_from(folders), IGNORE_FILES, max_size=3)),
        draw(st.one_of(st.just(b""), IGNORE_FILES)),
        draw(st.sampled_from([2, 3, 4])),
        draw(st.sampled_from([False, False, False, True])),
    )


@dataclass(frozen=True)
class Checkout:
    tree: Tree
    worktree: bool
    nested: dict[bytes, Tree]
    submodules: dict[bytes, Tree]
    empty_submodule: bool
    for_all: bytes  # the content of a global ignore file
    for_all_at: str
    directory: bytes  # what is built


CHECKOUTS = st.builds(
    Checkout,
    trees(files=8),
    st.booleans(),
    st.dictionaries(st.sampled_from([b"nested", b"a/nested"]), trees(files=3), max_size=1),
    st.dictionaries(st.sampled_from([b"sub", b"build/sub"]), trees(files=3), max_size=1),
    st.booleans(),
    st.one_of(st.just(b""), IGNORE_FILES),
    st.sampled_from(["default", "user", "repository"]),
    st.one_of(st.just(b""), st.sampled_from([b"a", b"b", b"build", b"sub", b"nested"])),
)


def git(folder, *arguments, stdin=b""):
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments]
    ended = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, check=True)
    return ended.stdout.split(b"\0")[:-1]


def at(folder, name):
    return folder / os.fsdecode(name)


def write(path, content=b""):
    """The file, unless a file is in the way to it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        return


def fill(top, tree, repository, *options):
    """The tree's files, and its index."""
    for name in tree.files:
        write(at(top, name))
    for folder, content in tree.ignore_files.items():
        write(at(top, folder) / ".gitignore", content)
    for path in (at(top, name) for name in tree.links):
        if path.is_file():
            path.unlink()
            path.symlink_to("a")
    write(repository / "info/exclude", tree.exclude)
    tracked = {name for name in tree.tracked if is_file(at(top, name))}
    split = ["--split-index"] if tree.split else []
    options = ["--index-version", str(tree.index_version), "--add", *split, *options, "-z", "--stdin"]
    git(top, "update-index", *options, stdin=b"".join(name + b"\0" for name in tracked))
    for name in tracked & {*tree.deleted, *tree.became_folders}:
        at(top, name).unlink()
    for name in tracked & {*tree.became_folders}:
        write(at(top, name) / "b")


def is_file(path):
    try:
        mode = path.lstat().st_mode
    except OSError:  # not there, or below a file or a link that leads to itself
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def make(room, checkout):
    """The checkout's folder; the environment is the test's own."""
    home = room / "home"
    (home / ".config/git").mkdir(parents=True)
    top = room / "top"
    init(top)
    repository = top / ".git"
    if checkout.worktree:
        git(top, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "empty")
        git(top, "worktree", "add", "-q", "--detach", "../other")
        top = room / "other"
    for name, inner in checkout.submodules.items():
        folder = at(top, name)
        apart = repository / "modules" / folder.name
        apart.parent.mkdir(exist_ok=True)
        init(folder, "--separate-git-dir", str(apart))
        fill(folder, inner, apart)
    for name, inner in checkout.nested.items():
        init(at(top, name))
        fill(at(top, name), inner, at(top, name) / ".git")
    gitlinks = [os.fsdecode(name) for name in checkout.submodules]
    if checkout.empty_submodule:
        (top / "absent").mkdir(exist_ok=True)
        gitlinks.append("absent")
    options = [word for name in gitlinks for word in ("--cacheinfo", f"160000,{NO_COMMIT},{name}")]
    fill(top, checkout.tree, repository, *options)
    write_global(checkout, home, repository)
    return top


def init(folder, *options):
    folder.parent.mkdir(parents=True, exist_ok=True)
    git(folder.parent, "init", "-q", "--template=", *options, str(folder))


def write_global(checkout, home, repository):
    if checkout.for_all_at == "default":
        write(home / ".config/git/ignore", checkout.for_all)
        return
    (home / "ignored everywhere").write_bytes(checkout.for_all)
    config = home / ".gitconfig" if checkout.for_all_at == "user" else repository / "config"
    with config.open("a") as file:
        file.write('[core]\n\texcludesFile = "~/ignored everywhere" # for all\n')


def listed_by_git(directory):
    """Tracked files that are there and `git ls-files -co --exclude-standard`; of a repository in it likewise."""
    found = set()
    for name in git(directory, "ls-files", "-co", "--exclude-standard", "-z"):
        path = at(directory, name)
        if os.path.realpath(path.parent) != str(path.parent):
            continue  # a link stands where a tracked folder was
        if is_file(path):
            found.add(name)
        elif (path / ".git").exists():
            found |= {name.rstrip(b"/") + b"/" + inner for inner in listed_by_git(path)}
    return found


def chosen(directory):
    try:
        names = choose(directory, LIMIT).names
    except SourceError as error:
        assert "nothing to build" in error.message
        return set()
    return {os.fsencode(name) for name in names if is_file(directory / name)}


@pytest.mark.kind("sources")
@pytest.mark.timeout(300 + 3 * EXAMPLES)
def test_the_files_are_those_that_git_lists(record_property):
    tried = Counter()

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=EXAMPLES)
    @given(checkout=CHECKOUTS)
    def check(checkout):
        with tempfile.TemporaryDirectory() as place:
            compare(Path(place).resolve(), checkout)
        tried.update(
            checkouts=1, worktrees=checkout.worktree, nested=bool(checkout.nested), submodules=bool(checkout.submodules)
        )

    check()
    assert all(tried.values())
    record_property(
        "seen", ", ".join(f"{count} {what}" for what, count in tried.items()) + ", each in three ways as git"
    )


def compare(room, checkout):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "XDG_"))}
    with mock.patch.dict(os.environ, {**kept, "HOME": str(room / "home")}, clear=True):
        top = make(room, checkout)
        directory = top / os.fsdecode(checkout.directory)
        if not directory.is_dir() or directory.is_symlink():
            directory = top
        expected = listed_by_git(directory)
        assert chosen(directory) == expected, "git asked"
        with mock.patch.dict(os.environ, {"PATH": "/nonexistent"}):
            assert chosen(directory) == expected, "git hidden"
        copy, apart = room / "copy", room / "apart"
        for target in (copy, apart):
            shutil.copytree(directory, target, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        init(apart)
        assert chosen(copy) == listed_by_git(apart), "a copy without .git"

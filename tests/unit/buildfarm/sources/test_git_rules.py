"""Patterns, ignore files, configuration and index, each compared with git's own reading of the same bytes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm.sources.gitfiles.config import parse as parse_config
from buildfarm.sources.gitfiles.config import read_settings
from buildfarm.sources.gitfiles.ignore_rules import RuleFile, decide, parse
from buildfarm.sources.gitfiles.index import Index, read_index

EXAMPLES = int(os.environ.get("BUILDFARM_EXAMPLES", "100"))

FOLDERS = [b"a", b"ab", b"b", b"b/a.b", b"abc", b"abc/b", b"b/x", b"b/x/y"]
NAMES = r"c A a.b a/b a/A b/ab b/a.b/c [a] a] - b/- !a #a \ a\b b/\a ab/b abc/b/a b/x/y/a é b/é"
FILES = [*(name.encode() for name in NAMES.split()), b"x y", b"x ", b"Icon\r", b"\xff", b"b/\xffa", b"a\tb", b"\x7f"]
WORDS = r"""a b c * ** **/ ? / ! # . - ] é Icon A [ [[: \ \a
[ab] [!a] [^a] [a-c] []] [!]] []-a] [a-] [\]] [a\-c] [--0] [é] [A-B] [!/]
[[:alpha:]] [[:punct:]] [![:space:]] [[:cntrl:]] [[:upper:]] [[:x:]]"""
TOKENS = [*WORDS.split(), "\\ ", " ", "\r", "\t", "\0"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    top = tmp_path_factory.mktemp("tree")
    subprocess.run(["git", "init", "-q", top], check=True)
    for name in FOLDERS:
        (top / os.fsdecode(name)).mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (top / os.fsdecode(name)).touch()
    return top


@settings(
    deadline=None,
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    pattern=st.lists(st.sampled_from(TOKENS), min_size=1, max_size=5).map("".join),
    encoding=st.sampled_from(["utf-8", "utf-8", "latin-1"]),
    ignore_case=st.booleans(),
)
def test_a_line_names_what_git_says_it_names(tree, pattern, encoding, ignore_case):
    line = pattern.encode(encoding) + b"\n"
    (tree / ".gitignore").write_bytes(line)
    command = ["check-ignore", "--verbose", "--non-matching", "--no-index", "-z", "--stdin"]
    said = git(tree, "-c", f"core.ignoreCase={ignore_case}".lower(), *command, stdin=b"\0".join(FOLDERS + FILES))
    fields = iter(said.split(b"\0")[:-1])
    named = {name: bool(origin) for origin, _, _, name in zip(*[fields] * 4, strict=True)}
    rules = RuleFile(".gitignore", b"", parse(line, ignore_case=ignore_case))
    for name in FOLDERS + FILES:
        # Of what is in a folder that the line names, git reports the folder's rule.
        if not any(named.get(above) for above in parents(name)):
            why = decide([rules], name, is_folder=name in FOLDERS, ignore_case=ignore_case)
            assert (why is not None) == named[name], name


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (b"*a" * 30 + b"*b", b"a" * 255),
        (b"**/a/" * 30 + b"b", b"a/" * 500 + b"c"),
        (b"**/*a*a*/" * 20 + b"b", (b"a" * 20 + b"/") * 100 + b"c"),
        (b"**\\/a" * 30 + b"/b", b"a/" * 500 + b"c"),
    ],
    ids=["stars", "folders", "both", "escaped"],
)
def test_a_pattern_of_many_stars_takes_no_exponential_time(pattern, path):
    rules = RuleFile(".gitignore", b"", parse(pattern))
    assert decide([rules], path, is_folder=False, ignore_case=False) is None
    assert decide([rules], path[:-1] + b"b", is_folder=False, ignore_case=False) is not None


@pytest.mark.parametrize("line", [b"a**/a", b"/a**/b/a", b"abc/b**", b"a**", b"ab*/**/a", b"a\\b**/a"])
def test_stars_behind_the_first_letters_are_at_the_beginning_as_for_git(tree, line):
    (tree / ".gitignore").write_bytes(line + b"\n")
    said = git(tree, "check-ignore", "--verbose", "--no-index", "-z", "--stdin", stdin=b"abc/b/a")
    entries = [(b"abc", True), (b"abc/b", True), (b"abc/b/a", False)]
    rules = RuleFile(".gitignore", b"", parse(line))
    assert any(decide([rules], name, is_folder=folder, ignore_case=False) for name, folder in entries) == bool(said)


@pytest.mark.parametrize("path", [b"a/ab/c", b"ab/xab/ab/x/c", b"c/c", b"a/c", b"xaxb/a/b/c"])
@pytest.mark.parametrize("line", [b"**/a*b/**/c", b"/a*b*/**/c", b"*a*b/**", b"**/a/**/c", b"a*/**\\/c", b"*a*b/*/*/c"])
def test_stars_are_tried_where_git_tries_them(tree, line, path):
    (tree / ".gitignore").write_bytes(line + b"\n")
    said = git(tree, "check-ignore", "--verbose", "--no-index", "-z", "--stdin", stdin=path)
    rules = RuleFile(".gitignore", b"", parse(line))
    entries = [(name, True) for name in parents(path)] + [(path, False)]
    assert any(decide([rules], name, is_folder=folder, ignore_case=False) for name, folder in entries) == bool(said)


def git(folder, *arguments, stdin=b""):
    command = ["git", "-c", "core.excludesFile=", *arguments]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, check=False).stdout


def parents(name):
    while name := name.rpartition(b"/")[0]:
        yield name


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("kind", ["sha1", "sha256", "split"])
def test_the_index_names_what_git_tracks(tmp_path, version, kind):
    names = [b"a", b"a.b", b"\xff", b"folder/" + b"n" * 200, b"z" * 5000, b"new"]
    names = names if kind != "sha256" else names[:3]
    git(tmp_path, "init", "-q", f"--object-format={'sha256' if kind == 'sha256' else 'sha1'}")
    empty = git(tmp_path, "hash-object", "-w", "-t", "blob", "--stdin").strip()
    listed = b"".join(b"100644 " + empty + b"\t" + name + b"\0" for name in names)
    listed += b"160000 " + b"1" * len(empty) + b"\tsub\0"
    options = ["--split-index"] if kind == "split" else []
    git(tmp_path, "update-index", "--index-version", str(version), *options, "-z", "--index-info", stdin=listed)
    git(tmp_path, "update-index", "--add", "--cacheinfo", f"100644,{empty.decode()},late")
    read = read_index(tmp_path / ".git/index", id_bytes=32 if kind == "sha256" else 20)
    assert read == Index(frozenset([*names, b"late"]), frozenset([b"sub"]))


@pytest.mark.parametrize(
    "content", [None, b"", b"DIRC", b"DIRC\0\0\0\2\0\0\0\1" + b"\0" * 70, b"DIRC\0\0\0\x09" + b"\0" * 90]
)
def test_an_index_that_cannot_be_read_tracks_nothing(tmp_path, content):
    if content is not None:
        (tmp_path / "index").write_bytes(content)
    assert read_index(tmp_path / "index", id_bytes=20) == Index()


CONFIGS = {
    "plain": b"[core]\n\texcludesFile = ~/all\n",
    "quoted": b'[core]\nexcludesfile="a;b # c" ; why\n',
    "half quoted": b'[core] excludesfile = a" b "c  # why\n',
    "escaped": b'[core]\nexcludesFile = a\\\\b\\"\\tc\n',
    "continued": b"[core]\nexcludesFile = a\\\nb\n",
    "later wins": b"[core]\nexcludesFile = a\n[other]\nx\n[CORE]\nEXCLUDESFILE = b\n",
    "subsection": b'[core "x"]\nexcludesFile = no\n[core]\nexcludesFile = yes\n',
    "BOM and CRLF": b"\xef\xbb\xbf[core]\r\n\texcludesFile = here \r\n",
    "comments": b"# [core]\n; x\n[core] # y\n# excludesFile = no\nexcludesFile = yes ; z\n",
    "empty": b"[core]\nexcludesFile =\n",
    "number": b"[a]\nb2-c = 1\n[core]\nexcludesFile = x\n",
    "no value": b"[a]\nb\n[core]\nexcludesFile = x",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_configuration_means_what_git_says(tmp_path, name):
    (tmp_path / "config").write_bytes(CONFIGS[name])
    said = git(tmp_path, "config", "--null", "--file", "config", "--list").split(b"\0")[:-1]
    expected = [tuple(entry.partition(b"\n")[::2]) for entry in said]
    found = [
        (key.encode(), b"" if value == b"true" and (key.encode(), b"") in expected else value)
        for key, value in parse_config(CONFIGS[name])
    ]
    assert found == expected


def test_what_follows_a_mistake_in_the_configuration_is_not_read():
    assert list(parse_config(b"[core]\na = 1\n]\nb = 2\n")) == [("core.a", b"1")]


def test_later_files_win_and_files_are_included(tmp_path):
    home = tmp_path / "home"
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/config").write_text("[core]\nexcludesFile = first\nignoreCase\n")
    (home / ".gitconfig").write_text(
        "[include]\npath = more\n[include]\npath = ~/more2\n[include]\npath = .gitconfig\n"
    )
    (home / "more").write_text("[core]\nexcludesFile = second\n")
    (home / "more2").write_text("[core]\nexcludesFile = ~/third\n")
    found = read_settings(None, tmp_path, {"HOME": str(home)})
    assert found.excludes_file == home / "third"
    assert found.ignore_case
    (tmp_path / "config").write_text("[core]\nexcludesFile = own\n[extensions]\nobjectFormat = sha256\n")
    found = read_settings(tmp_path, Path("/top"), {"HOME": str(home)})
    assert (found.excludes_file, found.id_bytes) == (Path("/top/own"), 32)


def test_the_users_ignore_file_has_a_place_by_default(tmp_path):
    with mock.patch.dict(os.environ, clear=True):
        assert read_settings(None, tmp_path, {"HOME": "/home/x"}).excludes_file == Path("/home/x/.config/git/ignore")
        assert read_settings(None, tmp_path, {"XDG_CONFIG_HOME": "/c"}).excludes_file == Path("/c/git/ignore")


def test_files_that_include_each_other_often_are_read_to_an_end(tmp_path):
    (tmp_path / "config").write_text("[include]\n" + "path = config\n" * 100 + "[core]\nignoreCase = true\n")
    assert read_settings(tmp_path, tmp_path, {"HOME": "/nonexistent"}).ignore_case


def test_an_index_that_repeats_a_long_name_is_not_read(tmp_path):
    entry = b"\0" * 24 + (0o100644).to_bytes(4, "big") + b"\0" * 32 + b"\0\0"
    content = b"DIRC" + (4).to_bytes(4, "big") + (1).to_bytes(4, "big") + entry + b"\0" + b"n" * 70_000 + b"\0"
    (tmp_path / "index").write_bytes(content + b"\0" * 20)
    assert read_index(tmp_path / "index", id_bytes=20) == Index()
    (tmp_path / "index").write_bytes(content.replace(b"n" * 70_000, b"name") + b"\0" * 20)
    assert read_index(tmp_path / "index", id_bytes=20).files == {b"name"}

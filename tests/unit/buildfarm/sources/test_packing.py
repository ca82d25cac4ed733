"""Which files belong to a source."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm.errors import SourceError, TooLargeError
from buildfarm.sources.packing import chosen_names

LIMIT = 1_000_000


def names(directory, limit=LIMIT):
    return list(chosen_names(directory, limit))


def write(directory, files):
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_folders_come_before_their_content_and_all_is_sorted(tmp_path):
    write(tmp_path, {"b.txt": "", "a/z": "", "a/b/c": "", "Procfile": ""})
    assert names(tmp_path) == ["Procfile", "a", "a/b", "a/b/c", "a/z", "b.txt"]


def test_ignore_files_hold_for_their_own_folder_and_may_take_back(tmp_path):
    write(
        tmp_path,
        {
            ".gitignore": "*.log\nbuild/\n",
            "x.log": "",
            "build/x": "",
            "a/.gitignore": "!keep.log\n/only-here\n",
            "a/keep.log": "",
            "a/drop.log": "",
            "a/only-here": "",
            "only-here": "",
        },
    )
    assert names(tmp_path) == [".gitignore", "a", "a/.gitignore", "a/keep.log", "only-here"]


def test_slugignore_is_for_the_build_to_read(tmp_path):
    write(tmp_path, {".slugignore": "docs\n", "docs/a": ""})
    assert names(tmp_path) == [".slugignore", "docs", "docs/a"]


def test_version_control_empty_folders_and_pipes_are_left_out(tmp_path):
    write(tmp_path, {".git/config": "", "sub/.git": "gitdir: x", "sub/a": ""})
    (tmp_path / "empty/deep").mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path) == ["sub", "sub/a"]


def test_links_are_kept_as_links(tmp_path):
    write(tmp_path, {"a/b": ""})
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "outside").symlink_to("/etc/passwd")
    assert names(tmp_path) == ["a", "a/b", "link", "outside"]


def test_what_is_no_directory_or_empty_is_the_apps_fault(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "absent"):
        with pytest.raises(SourceError, match="is not a directory"):
            names(path)
    (tmp_path / "file").unlink()
    with pytest.raises(SourceError, match="contains nothing to build"):
        names(tmp_path)


def test_the_limit_counts_files_that_are_chosen_only(tmp_path):
    write(tmp_path, {".gitignore": "big\n", "big": "x" * 100, "small": "x" * 10})
    assert "small" in names(tmp_path, 50)
    with pytest.raises(TooLargeError, match="larger than 10 bytes"):
        names(tmp_path, 10)


def test_a_folder_that_is_taken_back_still_loses_what_other_rules_ignore(tmp_path):
    write(tmp_path, {".gitignore": "**/b\n!a.log\n", "a.log/b/a": "", "a.log/c": ""})
    assert names(tmp_path) == [".gitignore", "a.log", "a.log/c"]


NAMES = st.sampled_from(["a", "b", "a.log", "b.log", "build", "deep"])
PATTERNS = st.sampled_from(["*.log", "!a.log", "build/", "/a", "deep/**", "**/b", "a/", "!b", "# c", "", "[ab]", "b*"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(
    files=st.lists(st.lists(NAMES, min_size=1, max_size=3), min_size=1, max_size=6),
    rules=st.lists(PATTERNS, max_size=4),
    inner=st.lists(PATTERNS, max_size=3),
)
def test_we_choose_what_git_would(tmp_path_factory, files, rules, inner):
    directory = tmp_path_factory.mktemp("tree")
    for parts in files:
        path = directory.joinpath(*parts)
        if not any(parent.is_file() for parent in path.parents) and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (directory / ".gitignore").write_text("\n".join(rules))
    if (directory / "deep").is_dir():
        (directory / "deep/.gitignore").write_text("\n".join(inner))
    subprocess.run(["git", "init", "-q", directory], check=True)
    listed = subprocess.run(
        ["git", "-c", "core.excludesFile=", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
    )
    ours = {name for name in names(directory) if (directory / name).is_file()} if listed.stdout else set()
    assert ours == set(filter(None, listed.stdout.split("\0")))

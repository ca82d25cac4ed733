"""Which files belong to a source."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from buildfarm.errors import SourceError, TooLargeError
from buildfarm.sources import choice
from buildfarm.sources.choice import choose
from buildfarm.sources.packing import packed

LIMIT = 1_000_000


@pytest.fixture(autouse=True)
def _no_ignore_file_of_the_user(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


@pytest.fixture(params=["asked", "hidden"])
def git_is(request, monkeypatch):
    """Both ways to find out what git would send."""
    if request.param == "hidden":
        monkeypatch.setattr("buildfarm.sources.git.shutil.which", lambda name: None)
    return request.param


def names(directory, limit=LIMIT):
    return list(choose(directory, limit).names)


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


def git(folder, *arguments, stdin=None):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, cwd=folder, input=stdin, check=True, capture_output=True).stdout


@dataclass(frozen=True)
class Case:
    """Files of a checkout, what is added to its index, and what is sent of it."""

    files: dict[str, bytes]
    sent: str
    add: str = ""
    exclude: str = ""
    user: str = ""


CASES = {
    "Icon with two CRs": Case(
        {".gitignore": b"Icon\r\r\nbin\n", "components/Icon/index.js": b"", "Icon\r": b"", "bin/x": b""},
        ".gitignore components components/Icon components/Icon/index.js",
    ),
    "committed though ignored": Case(
        {".gitignore": b"dist/\n", "dist/index.html": b"", "dist/other": b""},
        ".gitignore dist dist/index.html",
        add="dist/index.html",
    ),
    "info/exclude": Case({".env.local": b"password", "app.py": b""}, "app.py", exclude=".env.local\n"),
    "BOM": Case({".gitignore": b"\xef\xbb\xbf.env\n", ".env": b"password", "app.py": b""}, ".gitignore app.py"),
    "the user's own ignore file": Case({".DS_Store": b"", "app.py": b""}, "app.py", user=".DS_Store\n"),
    "CRLF": Case({".gitignore": b"*.log\r\n/tmp/\r\n", "a.log": b"", "tmp/a": b"", "x/tmp/a": b""},
                 ".gitignore x x/tmp x/tmp/a"),
    "an invalid line": Case({".gitignore": b"[\n\\\n!\n*.pem\n", "a.pem": b"", "[": b""}, ".gitignore ["),
    "blanks at the end": Case({".gitignore": b"a  \nb\\ \n", "a": b"", "b": b"", "b ": b""}, ".gitignore b"),
    "an ignore file of a folder weighs more": Case(
        {".gitignore": b"*.log\n", "logs/.gitignore": b"!*.log\n", "logs/a.log": b"", "b.log": b""},
        ".gitignore logs logs/.gitignore logs/a.log",
        exclude="!b.log\n",
    ),
    "everything but": Case({".gitignore": b"/*\n!/app.py\n", "app.py": b"", "b/app.py": b""}, "app.py"),
    "a name that is not UTF-8": Case({".gitignore": b"*.tmp\n", "\udcff": b"", "\udcff.tmp": b""}, ".gitignore \udcff"),
}  # fmt: skip


@pytest.mark.kind("sources")
@pytest.mark.parametrize("name", CASES)
def test_a_checkout_is_sent_as_git_would(git_is, tmp_path, record_property, name):
    case = CASES[name]
    git(tmp_path, "init", "-q")
    for path, content in case.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    (tmp_path / ".git/info/exclude").write_text(case.exclude)
    users = Path(os.environ["HOME"]) / ".config/git/ignore"
    users.parent.mkdir(parents=True)
    users.write_text(case.user)
    if case.add:
        git(tmp_path, "add", "-f", *case.add.split())
    choice = choose(tmp_path, LIMIT)
    assert list(choice.names) == case.sent.split(" ")
    record_property("seen", f"git {git_is}: {sum(item.files for item in choice.left_out)} left out")


def test_what_is_left_out_has_its_number_of_files_and_its_rule(git_is, tmp_path):
    git(tmp_path, "init", "-q")
    write(tmp_path, {".gitignore": "# ours\nnode_modules/\ndist\n", "a/.gitignore": "*.log\n", "a/x.log": "", "b": ""})
    write(tmp_path, {"node_modules/x/1": "", "node_modules/x/2": "", "dist/kept": "", "dist/other": "", "secret": ""})
    git(tmp_path, "add", "-f", "dist/kept")
    (tmp_path / ".git/info/exclude").write_text("secret\n")
    found = {item.name.rstrip("/"): (item.files, item.origin, item.rule) for item in choose(tmp_path, LIMIT).left_out}
    files, origin, rule = found.pop("dist/other", None) or found.pop("dist")
    assert (files, origin, rule) == (1, ".gitignore", "line 3: dist")
    assert found == {
        "node_modules": (2, ".gitignore", "line 2: node_modules/"),
        "a/x.log": (1, "a/.gitignore", "line 1: *.log"),
        "secret": (1, ".git/info/exclude", "line 1: secret"),
    }


def test_a_folder_below_the_top_obeys_the_rules_above_it(git_is, tmp_path):
    git(tmp_path, "init", "-q")
    write(tmp_path, {".gitignore": "*.log\n/web/out\n", "web/a.log": "", "web/out/x": "", "web/b": "", "other": ""})
    git(tmp_path, "add", "-f", "web/a.log")
    assert names(tmp_path / "web") == ["a.log", "b"]


def test_a_folder_that_git_ignores_is_not_sent(git_is, tmp_path):
    git(tmp_path, "init", "-q")
    write(tmp_path, {".gitignore": "out/\n", "out/app/a": "", "out/app/b/c": ""})
    with pytest.raises(SourceError, match=r"git ignores all of its files .*line 1: out/") as raised:
        names(tmp_path / "out/app")
    assert "git init" in raised.value.advice
    git(tmp_path / "out/app", "init", "-q")
    assert names(tmp_path / "out/app") == ["a", "b", "b/c"]


def test_a_submodule_is_sent_by_its_own_rules(git_is, tmp_path):
    write(tmp_path, {"lib/.gitignore": "*.o\n", "lib/a.c": "", "lib/a.o": "", "top/main.c": ""})
    for name in ("lib", "top"):
        git(tmp_path / name, "init", "-q")
        git(tmp_path / name, "add", ".")
        git(tmp_path / name, "commit", "-q", "-m", "first")
    git(
        tmp_path / "top",
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(tmp_path / "lib"),
        "lib",
    )
    write(tmp_path, {"top/lib/a.o": "", "top/lib/new.c": ""})
    expected = [".gitmodules", "lib", "lib/.gitignore", "lib/a.c", "lib/new.c", "main.c"]
    assert names(tmp_path / "top") == expected
    shutil.rmtree(tmp_path / "top/lib")
    (tmp_path / "top/lib").mkdir()
    assert names(tmp_path / "top") == [".gitmodules", "main.c"]


def test_a_submodule_that_is_a_file_now_is_sent_as_the_file(git_is, tmp_path):
    git(tmp_path, "init", "-q")
    write(tmp_path, {"lib": ""})
    git(tmp_path, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},lib")
    assert names(tmp_path) == ["lib"]


def test_an_index_cannot_name_files_outside_of_the_directory(git_is, tmp_path):
    app = tmp_path / "app"
    write(tmp_path, {"secret": "", "app/a": "", "app/xx/secret": "", "app/xx/b": "", "app/yyyy/config": ""})
    git(app, "init", "-q")
    git(app, "add", ".")
    content = (app / ".git/index").read_bytes()[:-20].replace(b"xx/secret", b"../secret").replace(b"yyyy", b".git")
    (app / ".git/index").write_bytes(content + hashlib.sha1(content).digest())
    assert names(app) == ["a", "xx", "xx/b", "xx/secret", "yyyy", "yyyy/config"]


PROGRAMS = """
core.fsmonitor core.sshCommand core.pager pager.ls-files core.editor core.askPass core.gitProxy credential.helper
filter.evil.clean filter.evil.process alias.ls-files diff.external uploadpack.packObjectsHook
"""


def test_nothing_that_a_checkout_names_is_run(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    write(
        tmp_path, {"a": "", "b.log": "", ".gitignore": "*.log\n", ".gitattributes": "* filter=evil\n", "nested/c": ""}
    )
    git(tmp_path, "add", "a")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    program.chmod(0o755)
    shutil.rmtree(tmp_path / ".git/hooks")
    (tmp_path / ".git/hooks").mkdir()
    for hook in ("post-index-change", "fsmonitor-watchman", "pre-auto-gc"):
        (tmp_path / ".git/hooks" / hook).symlink_to(program)
    for setting in PROGRAMS.split():
        git(tmp_path, "config", setting, str(program))
    git(tmp_path, "config", "core.hooksPath", str(tmp_path / ".git/hooks"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(program))
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    assert names(tmp_path) == [".gitattributes", ".gitignore", "a", "nested", "nested/c", "program"]
    assert not (tmp_path / "was-run").exists()
    subprocess.run(["git", "status"], cwd=tmp_path, check=False, capture_output=True)
    assert (tmp_path / "was-run").exists(), "git would have run it"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GIT_DIR", "other/.git"),
        ("GIT_INDEX_FILE", "other/.git/index"),
        ("GIT_COMMON_DIR", "other/.git"),
        ("GIT_WORK_TREE", "other"),
        ("GIT_CEILING_DIRECTORIES", "app"),
        ("GIT_LITERAL_PATHSPECS", "1"),
    ],
)
def test_variables_for_git_change_nothing(git_is, tmp_path, monkeypatch, name, value):
    write(tmp_path, {"other/c.log": "", "app/a/b": "", "app/a/c.log": "", "app/c.log": "", "app/.gitignore": "*.log\n"})
    for folder in ("other", "app"):
        git(tmp_path / folder, "init", "-q")
    git(tmp_path / "other", "add", "c.log")
    (tmp_path / "other/.git/info/exclude").write_text("b\n")
    monkeypatch.setenv(name, f"{tmp_path}/{value}" if "/" in value or value.isalpha() else value)
    assert names(tmp_path / "app/a") == ["b"]
    assert names(tmp_path / "app") == [".gitignore", "a", "a/b"]


def test_a_folder_with_tracked_files_is_not_a_nested_repository(git_is, tmp_path):
    git(tmp_path, "init", "-q")
    write(tmp_path, {"inner/a": "", "b": ""})
    git(tmp_path, "add", ".")
    git(tmp_path / "inner", "init", "-q")
    write(tmp_path, {"inner/.git/info/exclude": "c\n", "inner/c": ""})
    assert names(tmp_path) == ["b", "inner", "inner/a", "inner/c"]


@pytest.mark.parametrize("git_does", ["exit 1", "echo; exit 128", "exec sleep 30"])
def test_a_git_that_does_not_answer_is_done_without(tmp_path, monkeypatch, git_does):
    git(tmp_path, "init", "-q")
    write(tmp_path, {"c.log": "", ".gitignore": "*.log\n", "bin/git": f"#!/bin/sh\n{git_does}\n"})
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setattr("buildfarm.sources.git_call._SECONDS", 0.2)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    assert names(tmp_path) == [".gitignore", "bin", "bin/git"]


def test_a_broken_or_foreign_repository_leaves_the_ignore_files(git_is, tmp_path):
    write(
        tmp_path,
        {
            ".git": "gitdir: /nonexistent\n",
            ".gitignore": "*.log\n",
            "a": "",
            "b.log": "",
            "sub/.git/config": "",
            "sub/c": "",
        },
    )
    assert names(tmp_path) == [".gitignore", "a", "sub", "sub/c"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_named(git_is, tmp_path):
    git(tmp_path, "init", "-q")
    write(tmp_path, {"a": "", "closed/b": ""})
    (tmp_path / "closed").chmod(0)
    with pytest.raises(SourceError, match=r"closed.*(cannot be read|Permission denied)"):
        names(tmp_path)


def test_a_folder_that_git_cannot_read_is_named(tmp_path, monkeypatch):
    complaint = "warning: could not open directory 'closed/': Permission denied"
    git(tmp_path, "init", "-q")
    write(tmp_path, {"bin/git": f'#!/bin/sh\necho "{complaint}" >&2\n'})
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with pytest.raises(SourceError, match="could not open directory 'closed/': Permission denied"):
        names(tmp_path)


def test_a_tracked_folder_that_is_a_link_now_is_sent_as_the_link(git_is, tmp_path):
    git(tmp_path, "init", "-q")
    write(tmp_path, {"a/b": "", "c/b": ""})
    git(tmp_path, "add", ".")
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "a").symlink_to("c")
    assert names(tmp_path) == ["a", "c", "c/b"]


def test_links_that_lead_to_themselves_are_sent_as_links(git_is, tmp_path):
    git(tmp_path, "init", "-q")
    write(tmp_path, {"a/a": "", "b/c": ""})
    git(tmp_path, "add", ".")
    shutil.rmtree(tmp_path / "a")
    for name in ("a", ".gitignore", "b/.git"):
        (tmp_path / name).symlink_to(Path(name).name)
    assert names(tmp_path) == [".gitignore", "a", "b", "b/c"]


def test_the_archive_has_the_chosen_files_and_no_other(git_is, tmp_path):
    git(tmp_path, "init", "-q")
    write(tmp_path, {".gitignore": "*.log\n", "a.log": "", "\udcff/b\\n": "x", "-x": "", "line\nend": ""})
    _, stream = packed(tmp_path, LIMIT)
    with stream() as pieces:
        archive = io.BytesIO(b"".join(pieces))
    with tarfile.open(fileobj=archive) as tar:
        assert tar.getnames() == [
            f"source/{name}" for name in ["-x", ".gitignore", "line\nend", "\udcff", "\udcff/b\\n"]
        ]


@pytest.mark.parametrize("name", ["index", "config", "commondir", "info/exclude"])
def test_a_pipe_in_a_repository_is_not_waited_for(tmp_path, monkeypatch, name):
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    write(tmp_path, {".git/HEAD": "", ".git/info/x": "", ".git/objects/x": "", ".git/refs/x": "", "a": ""})
    os.mkfifo(tmp_path / ".git" / name)
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("text", ["[core]\nexcludesFile = a\0b\n", "[include]\npath = a\0b\n"])
def test_a_path_with_a_nul_in_a_configuration_names_nothing(tmp_path, monkeypatch, text):
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    write(tmp_path, {".git/HEAD": "", ".git/config": text, ".git/objects/x": "", ".git/refs/x": "", "a": ""})
    assert names(tmp_path) == ["a"]


def test_a_git_file_with_a_nul_names_no_repository(tmp_path):
    write(tmp_path, {".git": "gitdir: a\0b\n", "a": ""})
    assert names(tmp_path) == ["a"]


def test_an_index_cannot_name_the_folder_itself_as_a_repository_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr("buildfarm.sources.git.shutil.which", lambda name: None)
    entry = b"\0" * 24 + (0o160000).to_bytes(4, "big") + b"\0" * 32 + b"\0\x04sub/" + b"\0" * 6
    write(tmp_path, {".git/HEAD": "", ".git/objects/x": "", ".git/refs/x": "", "sub/a": ""})
    (tmp_path / ".git/index").write_bytes(b"DIRC\0\0\0\2\0\0\0\1" + entry + b"\0" * 20)
    listed = []
    real = choice.walk
    monkeypatch.setattr(choice, "walk", lambda folder, *, above: listed.append(folder) or real(folder, above=above))
    assert names(tmp_path / "sub") == ["a"]
    assert listed == [tmp_path / "sub"]

"""What git and the source's limits make of a pushed pack: a source like a clean checkout's, or a refusal."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from buildfarm.api.routes.git_push import tree as module
from buildfarm.api.routes.git_push.git import Git
from buildfarm.api.routes.git_push.objects import Pack, after
from buildfarm.api.routes.git_push.tree import check_out
from buildfarm.errors import SourceError, TooLargeError
from buildfarm.sources.choice import everything
from buildfarm.sources.packing import digest_of, packed
from testkit.git_server.checkout import Checkout

MIB = 1024 * 1024
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@pytest.fixture
def folder():
    """A folder that the user nobody reaches too."""
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


@pytest.fixture
def checkout(tmp_path):
    return Checkout.made(tmp_path / "app", {"index.html": "hi"})


def pack_of(checkout, *revisions):
    command = ["git", "pack-objects", "--stdout", "--revs", "-q"]
    names = "\n".join(revisions).encode() + b"\n"
    return subprocess.run(command, cwd=checkout.path, input=names, capture_output=True, check=True).stdout


def taken(folder, content, commit, *, shallow=(), pack_bytes=64 * MIB, source_bytes=64 * MIB):
    """The folder with the files of a pushed commit."""
    git = Git(folder, 256 * MIB)
    pack = Pack(git, shallow, pack_bytes)
    try:
        assert pack.take(after(content[:10], [content[10:]])) == len(content)
        pack.finish()
        return check_out(git, commit, source_bytes)
    finally:
        pack.close()


def tree_of(checkout, *entries):
    """A tree object as it is given, whatever git thinks of it; entries are mode, name and object."""
    content = b"".join(f"{mode} {name}".encode() + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)
    return checkout.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=content)


def commit_of(checkout, tree):
    return checkout.git("commit-tree", "-m", "made", tree)


def blob_of(checkout, content):
    return checkout.git("hash-object", "-w", "--stdin", stdin=content)


def refused(folder, checkout, tree, kind, words, **limits):
    commit = commit_of(checkout, tree)
    with pytest.raises(kind, match=words) as error:
        taken(folder, pack_of(checkout, commit), commit, **limits)
    assert error.value.advice
    assert str(folder) not in str(error.value)
    assert not list((folder / "git/tree").iterdir())


def test_a_push_is_the_source_that_a_clean_checkout_is(folder, checkout, tmp_path):
    checkout.commit({
        "bin/run": "#!/bin/sh\n", "a b/ü.txt": "x", ".gitignore": "*.log\n", "kept.log": "tracked", "docs/left.md": "y",
        ".gitattributes": "docs export-ignore\n*.bat text eol=crlf\n", "start.bat": "one\ntwo\n",
    })  # fmt: skip
    (checkout.path / "bin/run").chmod(0o755)
    (checkout.path / "link").symlink_to("bin/run")
    commit = checkout.commit({})
    (tmp_path / "clone").mkdir(mode=0o755)
    checkout.git("clone", "-q", str(checkout.path), str(tmp_path / "clone/app"))
    found, tree = taken(folder, pack_of(checkout, commit), commit)
    pushed, _ = packed(tree, MIB, chooser=everything)
    cloned, _ = packed(tmp_path / "clone/app", MIB)
    assert found == commit
    assert (tree / "start.bat").read_bytes() == b"one\r\ntwo\r\n"
    assert digest_of(pushed) == digest_of(cloned)


def test_a_tag_stands_for_its_commit_and_another_object_is_refused(folder, checkout):
    checkout.git("tag", "-a", "-m", "v1", "v1")
    tag, commit = checkout.git("rev-parse", "v1"), checkout.git("rev-parse", "HEAD")
    assert taken(folder, pack_of(checkout, tag), tag)[0] == commit
    tree = checkout.git("rev-parse", "HEAD^{tree}")
    with pytest.raises(SourceError, match="not a commit"):
        check_out(Git(folder, MIB), tree, MIB)


def test_a_shallow_clone_can_push(folder, checkout, tmp_path):
    for number in range(3):
        checkout.commit({"index.html": str(number)})
    checkout.git("clone", "-q", "--depth=1", f"file://{checkout.path}", str(tmp_path / "shallow"))
    shallow = Checkout(tmp_path / "shallow")
    last, new = shallow.git("rev-parse", "HEAD"), shallow.commit({"new": "x"})
    _, tree = taken(folder, pack_of(shallow, new), new, shallow=[last])
    assert (tree / "new").read_text() == "x"


def test_submodules_are_empty_and_pointers_stay_pointers(folder, checkout):
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n"
    checkout.commit({".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "big.bin": pointer})
    checkout.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},lib")
    checkout.git("commit", "-q", "-m", "a submodule")
    commit = checkout.git("rev-parse", "HEAD")
    _, tree = taken(folder, pack_of(checkout, commit), commit)
    assert (tree / "big.bin").read_text() == pointer
    assert not list((tree / "lib").iterdir())
    assert "lib" not in everything(tree, MIB).names


def test_objects_that_are_missing_are_found(folder, checkout):
    commit = commit_of(checkout, checkout.git("mktree", "--missing", stdin=f"100644 blob {'1' * 40}\ta\n".encode()))
    listed = f"{commit}\n{checkout.git('rev-parse', f'{commit}^{{tree}}')}\n".encode()
    command = ["git", "pack-objects", "--stdout", "-q"]
    content = subprocess.run(command, cwd=checkout.path, input=listed, capture_output=True, check=True).stdout
    with pytest.raises(SourceError, match="git refused"):
        taken(folder, content, commit)


@pytest.mark.parametrize("content", [b"PACK", b"PACK\0\0\0\2\0\0\0\1", b"\0" * 5000, b"GET / HTTP/1.1\r\n" * 9])
def test_what_is_not_a_pack_is_refused(folder, content):
    with pytest.raises(SourceError, match="git refused"):
        taken(folder, content, "1" * 40)


def test_a_pack_over_the_limit_is_read_to_its_end_and_refused(folder, checkout):
    blob = blob_of(checkout, os.urandom(300_000))
    tree = tree_of(checkout, ("100644", "big", blob))
    refused(folder, checkout, tree, TooLargeError, "200,000 bytes, files and history", pack_bytes=200_000)


def test_twice_the_limit_is_not_read(folder):
    pack = Pack(Git(folder, MIB), (), 1000)
    try:
        with pytest.raises(TooLargeError):
            pack.take([b"x" * 1500, b"x" * 600])
    finally:
        pack.close()


def test_a_small_pack_of_a_large_file_is_refused_before_it_is_written(folder, checkout):
    blob = blob_of(checkout, bytes(80 * MIB))
    content = pack_of(checkout, commit_of(checkout, tree_of(checkout, ("100644", "zeros", blob))))
    assert len(content) < MIB
    refused(folder, checkout, tree_of(checkout, ("100644", "zeros", blob)), TooLargeError, "bytes of files")


def test_a_few_trees_that_stand_for_millions_of_files_are_refused(folder, checkout):
    oid = blob_of(checkout, b"x")
    mode = "100644"
    for _ in range(8):  # ten to the eighth
        oid = tree_of(checkout, *((mode, f"d{number}", oid) for number in range(10)))
        mode = "40000"
    refused(folder, checkout, oid, TooLargeError, "400,000 files and folders")


def test_trees_without_files_are_refused_as_soon(folder, checkout):
    checkout.git("mktree", stdin=b"")
    oid = EMPTY_TREE
    for _ in range(9):  # ten to the ninth
        oid = tree_of(checkout, *(("40000", f"d{number}", oid) for number in range(10)))
    tree = tree_of(checkout, ("40000", "d", oid), ("100644", "file", blob_of(checkout, b"x")))
    refused(folder, checkout, tree, TooLargeError, "400,000 files and folders")


def test_folders_count_as_files_do(folder, checkout):
    oid, mode = blob_of(checkout, b"x"), "100644"
    for _ in range(250):
        oid, mode = tree_of(checkout, (mode, "d", oid)), "40000"
    tree = tree_of(checkout, *((mode, f"{number:04}", oid) for number in range(2000)))
    refused(folder, checkout, tree, TooLargeError, "400,000 files and folders|bytes of paths")


def test_a_listing_without_an_end_is_ended(folder, checkout, monkeypatch):
    class AtOnce:
        def __init__(self, seconds, kill):
            self.start, self.cancel = kill, lambda: None

    monkeypatch.setattr(module, "Timer", AtOnce)  # git would often be faster than a timer
    refused(folder, checkout, checkout.git("rev-parse", "HEAD^{tree}"), TooLargeError, "did not list")


def test_attributes_make_files_at_most_twice_as_large(folder, checkout):
    rules = "*.e text working-tree-encoding=UTF-32BE\n*.i text ident\n*.n text eol=crlf\n"
    before = {"a.e": "e" * 1000, "a.i": "$Id$\n" * 1000, "a.n": "\n" * 1000}
    tree = tree_of(
        checkout,
        ("100644", ".gitattributes", blob_of(checkout, rules.encode())),
        *(("100644", name, blob_of(checkout, text.encode())) for name, text in before.items()),
    )
    commit = commit_of(checkout, tree)
    _, found = taken(folder, pack_of(checkout, commit), commit)
    assert {name: (found / name).stat().st_size for name in before} == {"a.e": 1000, "a.i": 5000, "a.n": 2000}


def test_an_object_that_git_must_hold_as_a_whole_is_refused(folder, checkout):
    oid = checkout.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=bytes(300 * MIB))
    command = ["git", "pack-objects", "--stdout", "-q"]
    content = subprocess.run(command, cwd=checkout.path, input=oid.encode(), capture_output=True, check=True).stdout
    assert len(content) < MIB
    with pytest.raises(TooLargeError, match="memory"):
        taken(folder, content, oid)


def test_folders_that_nest_deep_are_refused(folder, checkout):
    oid, mode = blob_of(checkout, b"x"), "100644"
    for _ in range(300):
        oid, mode = tree_of(checkout, (mode, "d", oid)), "40000"
    refused(folder, checkout, oid, TooLargeError, "256 folders")


@pytest.mark.parametrize("name", [".git", ".GIT", "git~1", "..", ".", "a/b", ".g\u200cit"])
def test_names_that_lead_elsewhere_are_refused(folder, checkout, name):
    oid = blob_of(checkout, b"x")
    refused(folder, checkout, tree_of(checkout, ("100644", name, oid)), SourceError, "git refused")


def test_a_link_out_of_the_tree_stays_a_link_and_nothing_is_written_through_it(folder, checkout):
    outside = folder / "outside"
    link, file = blob_of(checkout, f"{outside}".encode()), blob_of(checkout, b"x")
    inner = tree_of(checkout, ("100644", "file", file))
    commit = commit_of(checkout, tree_of(checkout, ("120000", "link", link)))
    _, tree = taken(folder, pack_of(checkout, commit), commit)
    assert (tree / "link").is_symlink()
    assert everything(tree, MIB).names == ("link",)
    # The same name twice: a link, and a folder to be written through it.
    other = Path(tempfile.mkdtemp())
    try:
        both = tree_of(checkout, ("120000", "link", link), ("40000", "link", inner))
        refused(other, checkout, both, SourceError, "git refused")
    finally:
        shutil.rmtree(other)
    assert not outside.exists()


def test_a_commit_without_files_is_refused(folder, checkout):
    checkout.git("mktree", stdin=b"")
    refused(folder, checkout, EMPTY_TREE, SourceError, "no files")

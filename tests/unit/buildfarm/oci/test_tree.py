"""The tree as a tar stream: real GNU tar writes, Python's tarfile reads."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import NodeError, TooLargeError
from buildfarm.oci.tree import (
    Entry,
    TreeLimits,
    content_bytes,
    header_entries,
    scan,
    tar_command,
    tree_names,
)


def archive(root, *, owner=0, names=True):
    listed = b"".join(os.fsencode(name) + b"\0" for name in tree_names(root)) if names else None
    command = tar_command(root, owner=owner, names=names)
    done = subprocess.run(command, input=listed, capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout


def members(raw):
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return tar.getmembers()


def make_tree(root, *, backwards=False):
    """A tree with what usually differs between two builds of one source: order of making, links, times."""
    files = {
        "main.py": b"print(1)\n",
        "lib/a.py": b"a = 1\n",
        "lib/b.py": b"a = 1\n",
        "naïve ünï.txt": b"",
        "a\\tb": b"x",
    }
    for name in sorted(files, reverse=backwards):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(files[name])
        (root / name).chmod(0o644)
    (root / "run").symlink_to("main.py")
    for folder in (root, root / "lib"):
        folder.chmod(0o755)
    return files


@pytest.mark.parametrize("names", [False, True])
def test_two_copies_of_a_tree_have_the_same_bytes(tmp_path, names):
    one, two = tmp_path / "1" / "app", tmp_path / "2" / "app"
    make_tree(one)
    make_tree(two, backwards=True)
    os.utime(two / "main.py", (1_000_000_000, 1_000_000_000.5))
    (two / "main.py").chmod(0o4644)
    if os.geteuid() == 0:
        os.chown(two / "lib/a.py", 1234, 5678)

    assert archive(one, names=names) == archive(two, names=names)


def test_hard_links_stay_links_within_an_archive_and_become_files_without_their_first(tmp_path):
    root = tmp_path / "app"
    make_tree(root)
    (root / "lib/b.py").unlink()
    (root / "lib/b.py").hardlink_to(root / "lib/a.py")

    with tarfile.open(fileobj=io.BytesIO(archive(root))) as tar:
        assert tar.getmember("app/lib/a.py").isreg()
        assert tar.getmember("app/lib/b.py").linkname == "app/lib/a.py"
    argv = tar_command(root, owner=0, names=True, top="other")
    for names, is_link in ((["app/lib/a.py", "app/lib/b.py"], True), (["app/lib/b.py"], False)):
        listed = "".join(f"{name}\0" for name in names).encode()
        raw = subprocess.run(argv, input=listed, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            found = tar.getmember("other/lib/b.py")
            assert found.islnk() == is_link
            assert not is_link or found.linkname == "other/lib/a.py"


@pytest.mark.parametrize("change", ["content", "mode", "name", "link"])
def test_what_matters_changes_the_bytes(tmp_path, change):
    root = tmp_path / "app"
    make_tree(root)
    before = archive(root)

    match change:
        case "content":
            (root / "main.py").write_bytes(b"print(2)\n")
        case "mode":
            (root / "main.py").chmod(0o755)
        case "name":
            (root / "main.py").rename(root / "main2.py")
        case "link":
            (root / "run").unlink()
            (root / "run").symlink_to("lib/a.py")

    assert archive(root) != before


@pytest.mark.parametrize("names", [False, True])
def test_names_contents_and_modes_come_back(tmp_path, names):
    root = tmp_path / "app"
    files = make_tree(root)
    long = "/".join(["d" * 100] * 3) + "/" + "f" * 200
    (root / long).parent.mkdir(parents=True)
    (root / long).write_bytes(b"deep")
    (root / "main.py").chmod(0o750)

    raw = archive(root, owner=1000, names=names)

    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        contents = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isreg()}
    assert contents == {f"app/{name}": content for name, content in {**files, long: b"deep"}.items()}
    by_name = {entry.name: entry for entry in members(raw)}
    assert by_name["app"].isdir()
    assert by_name["app/main.py"].mode == 0o750
    assert by_name["app/run"].linkname == "main.py"
    assert {(entry.uid, entry.gid, entry.mtime, entry.uname) for entry in by_name.values()} == {(1000, 1000, 1, "")}


def test_special_bits_are_dropped_and_the_others_kept(tmp_path):
    root = tmp_path / "app"
    (root / "shared").mkdir(parents=True)
    (root / "shared").chmod(0o3775)
    (root / "tool").touch()
    (root / "tool").chmod(0o6751)

    modes = {entry.name: entry.mode for entry in members(archive(root))}

    assert modes["app/shared"] == 0o775
    assert modes["app/tool"] == 0o751


def test_pipes_and_sockets_are_left_out(tmp_path):
    root = tmp_path / "app"
    root.mkdir()
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(root / "socket"))

        assert [entry.name for entry in members(archive(root))] == ["app"]
        listing = scan(root)
        assert [item.name for item in listing.found] == ["app"]
        assert listing.left_out == ["app/pipe", "app/socket"]


def test_the_content_of_hard_links_counts_once(tmp_path):
    root = tmp_path / "app"
    (root / "lib").mkdir(parents=True)
    (root / "one").write_bytes(b"x" * 1000)
    (root / "lib/two").hardlink_to(root / "one")
    (root / "lib/other").write_bytes(b"x" * 1000)
    (root / "link").symlink_to("one")
    assert content_bytes(scan(root).found) == 2003


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (TreeLimits(entries=6), "more than 6 files and folders in app/"),
        (TreeLimits(paths_bytes=40), "paths of more than 40 bytes in total in app/"),
        (TreeLimits(depth=2), "folders that nest more than 2 deep in app/"),
    ],
)
def test_a_tree_over_a_limit_is_refused_and_the_limit_is_named(tmp_path, limits, told):
    root = tmp_path / "app"
    for name in ("a/b", "c/d", "é"):
        (root / name).mkdir(parents=True)
    within = {"entries": 6, "paths_bytes": len("aa/bcc/d") + 4 * len("é"), "depth": 2}
    assert len(scan(root, limits=TreeLimits(**within)).found) == 6

    (root / "c/d" / ("long" * 10)).touch()

    with pytest.raises(TooLargeError, match=told):
        scan(root, limits=limits)


def test_a_path_outside_of_ascii_counts_what_it_takes_in_memory(tmp_path):
    root = tmp_path / "app"
    root.mkdir()
    (root / "plain").touch()
    (root / "\U0001f600").touch()
    assert len(scan(root, limits=TreeLimits(paths_bytes=9)).found) == 3
    with pytest.raises(TooLargeError):
        scan(root, limits=TreeLimits(paths_bytes=8))


def test_a_tree_over_a_limit_is_refused_before_it_is_in_memory(tmp_path):
    """1,000 paths of 4,000 bytes: no more of them is held than the limit allows and the pipe has."""
    top = tmp_path / "app"
    top.mkdir()
    folder = os.open(top, os.O_RDONLY)
    for _ in range(15):
        os.mkdir("d" * 254, dir_fd=folder)
        inner = os.open("d" * 254, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    for number in range(1000):
        os.close(os.open(f"{number:0>150}", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)

    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError, match="paths of more than 65,536 bytes"):
            scan(top, limits=TreeLimits(paths_bytes=64 * 1024))
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_listing_that_is_refused_leaves_no_process_behind(tmp_path):
    before = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    (tmp_path / "app/x").mkdir(parents=True)
    with pytest.raises(TooLargeError):
        scan(tmp_path / "app", limits=TreeLimits(entries=1))
    assert Path(f"/proc/self/task/{os.getpid()}/children").read_text() == before


def test_a_tree_that_cannot_be_read_is_the_nodes_fault(tmp_path):
    with pytest.raises(NodeError, match=r"cannot be read.*gone"):
        scan(tmp_path / "gone")


def test_a_tree_of_many_pieces_has_one_order(tmp_path):
    """More than one read of the pipe, and more than one batch of names."""
    root = tmp_path / "app"
    names = {f"{number % 7}{'-./ '[number % 4]}{'d' * 60}{number}" for number in range(5000)}
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    listed = scan(root).found
    assert [item.name for item in listed] == sorted((item.name for item in listed), key=lambda name: name.split("/"))
    assert {f"app/{os.path.normpath(name)}" for name in names} <= {item.name for item in listed}


def test_levels_of_a_tree(tmp_path):
    root = tmp_path / "app"
    (root / "a/b/c").mkdir(parents=True)
    assert [item.name for item in scan(root, depth=2).found] == ["app", "app/a", "app/a/b"]


@pytest.mark.parametrize("name", ["-rf", "!", "(", "%P\\0", os.fsdecode(b"\xff")])
def test_a_root_may_have_any_name(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "file").touch()
    assert [item.name for item in scan(tmp_path / name).found] == [name, f"{name}/file"]


def test_odd_names_survive_a_list_of_names(tmp_path):
    root = tmp_path / "app"
    root.mkdir()
    odd = ["-rf", "--help", "new\nline", "back\\nslash", "star*", " ", "@x", os.fsdecode(b"not-utf-8-\xff")]
    for name in odd:
        (root / name).touch()

    found = [entry.name for entry in members(archive(root))]

    assert found == ["app", *sorted((f"app/{name}" for name in odd), key=os.fsencode)]


def test_a_list_of_names_takes_nothing_else(tmp_path):
    root = tmp_path / "app"
    make_tree(root)

    done = subprocess.run(tar_command(root, owner=0, names=True), input=b"app/lib\0", capture_output=True, check=True)

    assert [entry.name for entry in members(done.stdout)] == ["app/lib"]


def test_names_reach_links_but_never_follow_them(tmp_path):
    root = tmp_path / "app"
    root.mkdir()
    (root / "up").symlink_to("..")

    assert list(tree_names(root)) == ["app", "app/up"]


def test_entries_come_before_a_tree(tmp_path):
    root = tmp_path / "app"
    make_tree(root)
    prefix = header_entries(
        [Entry("etc/farm"), Entry("etc/farm/web", b"python main.py\n"), Entry("etc/run", b"", 0o755)]
    )

    with tarfile.open(fileobj=io.BytesIO(prefix + archive(root, owner=1000))) as tar:
        folder, web, run, app, *_ = tar.getmembers()
        assert tar.extractfile(web).read() == b"python main.py\n"

    assert folder.isdir()
    assert [(entry.name, entry.mode, entry.uid, entry.mtime) for entry in (folder, web, run, app)] == [
        ("etc/farm", 0o755, 0, 1),
        ("etc/farm/web", 0o644, 0, 1),
        ("etc/run", 0o755, 0, 1),
        ("app", 0o755, 1000, 1),
    ]


paths = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=80)


@given(st.lists(st.tuples(paths, st.binary(max_size=2000)), max_size=4))
def test_entries_are_whole_blocks_that_come_back(files):
    entries = [Entry(f"etc/{name}", content) for name, content in files if name not in (".", "..")]

    raw = header_entries(entries)

    assert len(raw) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(raw + bytes(1024))) as tar:
        assert [(item.name, tar.extractfile(item).read()) for item in tar] == [(e.path, e.content) for e in entries]


@pytest.mark.parametrize("path", ["", "/etc/x", "../x", "etc/../x", "etc//x", "./x", "etc/"])
def test_an_entry_cannot_leave_the_root(path):
    with pytest.raises(ValueError, match="cannot be an entry"):
        Entry(path)


def test_the_stream_does_not_depend_on_where_the_tree_is(tmp_path):
    root = tmp_path / "app"
    make_tree(root)
    moved = tmp_path / "some" / "where" / "app"
    shutil.copytree(root, moved, symlinks=True)

    assert archive(root) == archive(moved)

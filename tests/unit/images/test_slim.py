"""The imager's own program: pure parts of what makes a tree from packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

SLIM = Path(__file__).parents[3] / "images/imager/slim"


@pytest.fixture(autouse=True)
def slim_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(SLIM))
    yield
    for name in ("archive", "closure", "compiled", "icu_package", "once", "packages", "problem", "small"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("./bin/sh", "usr/bin/sh"),
        ("/lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
        ("./usr/bin/redis-server", "usr/bin/redis-server"),
        ("library/x", "library/x"),
    ],
)
def test_names_are_those_of_a_merged_usr(name, wanted):
    from packages import merged

    assert merged(name) == wanted


def test_a_pattern_that_stands_for_nothing_is_a_mistake(tmp_path):
    from closure import found
    from problem import Problem

    (tmp_path / "a.so").touch()
    assert found(tmp_path, "/*.so") == [tmp_path / "a.so"]
    with pytest.raises(Problem, match=r"/\*\.txt is in none of the packages"):
        found(tmp_path, "/*.txt")


def packed(tmp_path, *tops):
    archive = tmp_path / "recipe/archive"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for top in tops:
            (tmp_path / top).mkdir()
            (tmp_path / top / "server").write_text("a stand-in\n")
            tar.add(tmp_path / top, top)
    return {
        "url": "http://127.0.0.1:9/archive.tgz",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "into": "/opt/store",
        "licence": "none",
    }


def test_an_archive_that_came_with_the_recipe_is_unpacked(tmp_path):
    from archive import unpack_archive

    told = packed(tmp_path, "store-1.0")
    unpack_archive(told, tmp_path / "recipe", tmp_path / "scratch", tmp_path / "root")
    assert (tmp_path / "root/opt/store/server").read_text() == "a stand-in\n"


def test_another_archive_than_the_recipe_says_is_refused(tmp_path):
    from archive import ArchiveError, unpack_archive

    told = packed(tmp_path, "store-1.0") | {"sha256": "0" * 64}
    with pytest.raises(ArchiveError, match=r"has the SHA-256 .* but 0000.* is expected"):
        unpack_archive(told, tmp_path / "recipe", tmp_path / "scratch", tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_an_archive_with_more_than_a_folder_is_refused(tmp_path):
    from archive import ArchiveError, unpack_archive

    with pytest.raises(ArchiveError, match="2 entries at its top"):
        unpack_archive(packed(tmp_path, "a", "b"), tmp_path / "recipe", tmp_path / "s", tmp_path / "root")


def test_an_archive_that_cannot_be_fetched_is_told(tmp_path):
    from archive import ArchiveError, fetch

    with pytest.raises(ArchiveError, match=r"not reachable: http://127\.0\.0\.1:9/x"):
        fetch("http://127.0.0.1:9/x", tmp_path / "x")


def icu_package(names):
    """ICU's own layout, written by hand: header of 32 bytes, table, names, contents on multiples of 16."""
    head = struct.pack("<H2s", 32, b"\xda\x27") + bytes(8) + b"CmnD" + bytes(16)
    texts = b"".join(name.encode() + b"\0" for name in names)
    first = 4 + 8 * len(names)
    start = first + len(texts) + -(first + len(texts)) % 16
    table, at = b"", first
    for number, name in enumerate(names):
        table += struct.pack("<II", at, start + 16 * number)
        at += len(name) + 1
    body = struct.pack("<I", len(names)) + table + texts
    return head + body.ljust(start, b"\0") + b"".join(f"item {number:11d}".encode() for number in range(len(names)))


def test_items_of_icu_are_read_and_written_as_icu_has_them():
    from icu_package import read_package, write_package

    package = icu_package(["icudt72l/coll/de.res", "icudt72l/cnvalias.icu", "icudt72l/root.res"][::-1])
    head, items = read_package(package)
    assert items["icudt72l/root.res"] == b"item           0"
    kept = {name: content for name, content in items.items() if name != "icudt72l/cnvalias.icu"}
    again = write_package(head, kept)
    assert read_package(again) == (head, kept)
    assert list(read_package(again)[1]) == sorted(kept)  # ICU finds items by bisection
    offsets = struct.unpack_from("<IIII", again, len(head) + 4)
    assert all((len(head) + offset) % 16 == 0 for offset in offsets[1::2])


@pytest.mark.parametrize(
    ("name", "pattern", "held"),
    [
        ("icudt72l/coll/de.res", "coll/*", True),
        ("icudt72l/coll/de.res", "*.res", False),
        ("icudt72l/de.res", "*.res", True),
        ("icudt72l/ibm-964_P110-1999.cnv", "ibm-964_*.cnv", True),
        ("icudt72l/lang/de.res", "lang/en.res", False),
    ],
)
def test_a_star_stands_for_no_slash(name, pattern, held):
    from icu_package import wanted

    assert wanted(name, [pattern]) is held


def test_equal_files_are_kept_once(tmp_path):
    from once import keep_once

    for name, text, mode in (("a/x", "one", 0o644), ("b/y", "one", 0o644), ("b/z", "two", 0o644), ("c", "one", 0o755)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("a/x")
    keep_once(tmp_path)
    assert (tmp_path / "a/x").samefile(tmp_path / "b/y")
    assert (tmp_path / "b/z").read_text() == "two"
    assert not (tmp_path / "c").samefile(tmp_path / "a/x")  # another right to execute
    assert (tmp_path / "link").is_symlink()


CALLER = r"""
#include <stdio.h>
#include <stdlib.h>
int sd_notify(int, const char *);
int sd_notifyf(int, const char *, ...);
int sd_listen_fds_with_names(int, char ***);
int main(void)
{
    char **names = NULL, process[32];
    int told = sd_notify(0, "READY=1"), more = sd_notifyf(1, "STATUS=%d of %s", 3, "four"), none = sd_notify(0, "X");
    snprintf(process, sizeof process, "%d", (int)getpid());
    if (getenv("FOR_US")) setenv("LISTEN_PID", process, 1);
    int count = sd_listen_fds_with_names(1, &names);
    printf("%d %d %d %d", told, more, none, count);
    for (int at = 0; at < count; at++) printf(" %s", names[at]);
    return getenv("LISTEN_FDS") != NULL;
}
"""


@pytest.fixture(scope="module")
def caller(tmp_path_factory):
    """A program that calls what servers call, with the small libsystemd in it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("small")
    (folder / "caller.c").write_text("#include <unistd.h>\n" + CALLER)
    source = SLIM / "small/libsystemd.c"
    command = [
        compiler,
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        str(folder / "caller"),
        str(folder / "caller.c"),
        str(source),
    ]
    subprocess.run(command, check=True)
    return folder / "caller"


@pytest.mark.parametrize(
    ("listening", "told"),
    [
        ({}, "0"),
        ({"LISTEN_FDS": "2", "FOR_US": "1", "LISTEN_FDNAMES": "db:extra"}, "2 db extra"),
        ({"LISTEN_FDS": "2", "FOR_US": "1"}, "2 unknown unknown"),
        ({"LISTEN_FDS": "2", "FOR_US": "1", "LISTEN_FDNAMES": "db"}, "-22"),
        ({"LISTEN_FDS": "2", "FOR_US": "1", "LISTEN_FDNAMES": "a:b:c"}, "-22"),
        ({"LISTEN_FDS": "two", "FOR_US": "1"}, "-22"),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "1"}, "0"),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "1x"}, "-22"),
    ],
)
@pytest.mark.parametrize("place", ["file", "abstract"])
def test_a_small_libsystemd_does_what_its_manual_pages_say(caller, tmp_path, listening, told, place):
    address = str(tmp_path / "socket") if place == "file" else f"\0buildfarm-{os.getpid()}"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        Path(os.devnull).open() as one,
        Path(os.devnull).open() as other,
    ):
        manager.bind(address)
        manager.settimeout(5)
        variables = listening | {"NOTIFY_SOCKET": address.replace("\0", "@")}
        done = subprocess.run(
            [caller], env=variables, capture_output=True, text=True, check=True,
            preexec_fn=lambda: (os.dup2(one.fileno(), 3), os.dup2(other.fileno(), 4)), close_fds=False,
        )  # fmt: skip
        assert done.stdout == f"1 1 0 {told}"
        assert [manager.recv(100).decode() for _ in range(2)] == ["READY=1", "STATUS=3 of four"]

"""Archives of build tools: what is unpacked, and that nothing is ever written beside the target."""

from __future__ import annotations

import gzip
import io
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as some

from workers.sandbox.tools.archive import place_of, unpack


def entry(name, content=b"", mode=0o644, **changes):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    for field, value in changes.items():
        setattr(info, field, value)
    return info, content


def folder(name):
    return entry(name, type=tarfile.DIRTYPE, mode=0o700)


def archive(path, *entries):
    with tarfile.open(path, "w:gz") as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return path


def unpacked(tmp_path, *entries, limit_bytes=100):
    unpack(archive(tmp_path / "archive", *entries), tmp_path / "into", limit_bytes=limit_bytes)
    return tmp_path / "into"


def test_files_and_folders_come_out_with_plain_modes(tmp_path):
    into = unpacked(
        tmp_path,
        folder("tool"),
        folder("tool/bin"),
        entry("tool/bin/go", b"program", 0o4711),
        entry("tool/notes", b"text", 0o666),
    )
    assert (into / "bin/go").read_bytes() == b"program"
    modes = {str(path.relative_to(into)): oct(path.stat().st_mode & 0o7777) for path in into.rglob("*")}
    assert modes == {"bin": "0o755", "bin/go": "0o755", "notes": "0o644"}


def test_an_archive_that_was_compressed_in_parts_is_read_to_its_end(tmp_path):
    content = os.urandom(50_000)
    whole = gzip.decompress(archive(tmp_path / "whole", folder("tool"), entry("tool/x", content)).read_bytes())
    parts = [whole[at : at + 10_000] for at in range(0, len(whole), 10_000)]
    (tmp_path / "archive").write_bytes(b"".join(map(gzip.compress, parts)))
    unpack(tmp_path / "archive", tmp_path / "into", limit_bytes=50_000)
    assert (tmp_path / "into/x").read_bytes() == content


LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc"}


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([folder("tool"), entry("tool/../../evil", b"x")], "not a plain path"),
        ([folder("tool"), entry("/tool/x", b"x")], "not a plain path"),
        ([folder("tool"), entry("other/x", b"x")], "not a plain path"),
        ([folder("tool"), entry("tool/link", **LINK)], "neither a file nor a folder"),
        ([folder("tool"), entry("tool/link", **LINK), entry("tool/link/passwd", b"x")], "neither"),
        ([folder("tool"), entry("tool/hard", type=tarfile.LNKTYPE, linkname="/etc/passwd")], "neither"),
        ([folder("tool"), entry("tool/pipe", type=tarfile.FIFOTYPE)], "neither"),
        ([folder("tool"), entry("tool/disk", type=tarfile.BLKTYPE)], "neither"),
        ([folder("tool"), entry("tool/x", b"1"), entry("tool/x", b"2")], "comes twice"),
        ([folder("tool"), folder("tool/x"), entry("tool/x", b"2")], "comes twice"),
        ([folder("tool"), entry("tool/x", b"1"), entry("tool/x/y", b"2")], "not in a folder"),
        ([folder("tool"), entry("tool/missing/y", b"2")], "not in a folder"),
        ([folder("tool"), entry("tool/large", b"x" * 101)], "more than 100 bytes"),
        ([folder("tool"), entry("tool/a", b"x" * 60), entry("tool/b", b"x" * 60)], "more than 100 bytes"),
        ([], "empty"),
    ],
)
def test_anything_else_is_refused_and_nothing_is_written_outside(tmp_path, entries, reason):
    before = {path.name for path in tmp_path.parent.iterdir()}
    with pytest.raises(ValueError, match=reason):
        unpacked(tmp_path, *entries)
    assert {path.name for path in tmp_path.iterdir()} <= {"archive", "into"}
    assert {path.name for path in tmp_path.parent.iterdir()} == before


@pytest.mark.parametrize("kept", [0, 1, 30, 100])
def test_a_damaged_archive_is_refused(tmp_path, kept):
    path = archive(tmp_path / "archive", folder("tool"), entry("tool/x", bytes(range(256)) * 40))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="not a complete archive"):
        unpack(path, tmp_path / "into", limit_bytes=100_000)


@given(some.text(alphabet="tool/.\0ab", max_size=30))
def test_no_name_leads_out_of_the_target(tmp_path_factory, name):
    into = tmp_path_factory.getbasetemp() / "into"
    try:
        place = place_of(name, into)
    except ValueError:
        return
    assert place == into or into in place.parents
    assert ".." not in place.parts

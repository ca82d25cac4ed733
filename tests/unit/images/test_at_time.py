"""`at-time`: any tar archive passes with one time for all of its entries, and within its limits."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

LIB = Path(__file__).parents[3] / "images/builder/root/usr/lib/buildfarm"
SECONDS = 978307200
FORMATS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def at_time(archive, *limits):
    command = [str(LIB / "at-time"), str(SECONDS), *map(str, limits)]
    return subprocess.run(command, input=archive, capture_output=True, timeout=30, check=False)


def made(entries, style):
    content = io.BytesIO()
    with tarfile.open(
        fileobj=content, mode="w", format=FORMATS[style], encoding="utf-8", errors="surrogateescape"
    ) as tar:
        for name, kind, size, mtime in entries:
            item = tarfile.TarInfo(name)
            item.type, item.mtime = kind, mtime
            if kind == tarfile.REGTYPE:
                item.size = size
                tar.addfile(item, io.BytesIO(b"x" * size))
            else:
                item.linkname = name[::-1] if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
                tar.addfile(item)
    return content.getvalue()


def read(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return [(item.name, item.type, item.size, item.linkname, item.mode) for item in tar], {
            item.mtime for item in tar
        }


NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0/."), min_size=1, max_size=200)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
TIMES = st.floats(min_value=0, max_value=2**33).map(lambda value: round(value, 3))
ENTRIES = st.lists(st.tuples(NAMES, KINDS, st.integers(0, 3000), TIMES), min_size=1, max_size=8)


@given(ENTRIES, st.sampled_from(["pax", "gnu"]))
@settings(max_examples=50, deadline=None)
def test_nothing_of_an_archive_changes_but_its_times(entries, style):
    before = made(entries, style)
    done = at_time(before)
    assert (done.returncode, len(done.stdout)) == (0, len(before))
    assert read(done.stdout) == (read(before)[0], {SECONDS})


@pytest.mark.kind("times")
@pytest.mark.parametrize("style", FORMATS)
def test_every_format_of_tar_passes(style, record_property, tmp_path):
    entries = [("a" * 90, tarfile.REGTYPE, 700, 0.0), ("d", tarfile.DIRTYPE, 0, 1.0), ("d/l", tarfile.SYMTYPE, 0, 2e9)]
    done = at_time(made(entries, style))
    subprocess.run(["tar", "--extract", "--directory", str(tmp_path)], input=done.stdout, check=True)
    seen = {path.name[:3]: path.lstat().st_mtime for path in tmp_path.rglob("*")}
    assert seen == {"aaa": SECONDS, "d": SECONDS, "l": SECONDS}
    record_property("seen", "file, folder and link are of 2001-01-01")


def test_a_sparse_file_of_gnu_tar_passes(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        for hole in range(40):  # more holes than a header has room for
            file.seek(hole * 100_000)
            file.write(b"x")
    for style in ("gnu", "pax"):
        create = ["tar", "--create", "--sparse", f"--format={style}", "--directory", str(tmp_path), "sparse"]
        done = at_time(subprocess.run(create, check=True, capture_output=True).stdout)
        (tmp_path / style).mkdir()
        subprocess.run(["tar", "--extract", "--directory", str(tmp_path / style)], input=done.stdout, check=True)
        copy = tmp_path / style / "sparse"
        assert copy.read_bytes() == (tmp_path / "sparse").read_bytes()
        assert copy.stat().st_mtime == SECONDS


def test_an_archive_over_its_limits_ends_with_74():
    archive = made([(f"f{number}", tarfile.REGTYPE, 100, 0.0) for number in range(10)], "gnu")
    assert at_time(archive, len(archive), 10).returncode == 0
    assert at_time(archive, len(archive) - 1, 10).returncode == 74
    assert at_time(archive, len(archive), 9).returncode == 74


@pytest.mark.parametrize("content", [b"\x01" * 1024, b"<html>" + b" " * 1000], ids=["noise", "a page"])
def test_what_is_not_an_archive_is_refused(content):
    assert at_time(content).returncode == 1


@given(st.binary(min_size=1, max_size=3000))
@settings(max_examples=50, deadline=None)
def test_any_bytes_end_in_one_of_the_three_ways(content):
    assert at_time(content, 2000, 3).returncode in (0, 1, 74)


def test_a_folder_that_claims_a_size_hides_no_entry_from_the_count():
    header = bytearray(made([("d", tarfile.DIRTYPE, 0, 0.0)], "ustar")[:512])
    header[124:136] = b"00000001000\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    rest = made([("e", tarfile.REGTYPE, 1, 0.0)], "ustar")
    assert at_time(bytes(header) + rest, 10**6, 1).returncode == 74


def test_a_source_from_git_has_the_same_time(tmp_path):
    """The builder's program as it is, but that it may fetch from a folder."""
    work, into = tmp_path / "work", tmp_path / "into"
    (work / "folder").mkdir(parents=True)
    (work / "folder/file").write_text("x")
    (work / "link").symlink_to("folder")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(work)]
    for command in (["init", "-qb", "main"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    program = (LIB / "fetch-git").read_text().replace("http:https:ssh:git", "http:https:ssh:git:file")
    environment = {"PATH": "/usr/bin:/bin", "INTO": str(into)}
    command = ["bash", "-c", program, "fetch-git", f"file://{work}", "main"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert not (into / ".git").exists()
    assert {path.lstat().st_mtime for path in into.rglob("*")} == {SECONDS}


@pytest.mark.parametrize(("archive", "code"), [("whole", 0), ("cut", 2), ("no gzip", 2)])
def test_a_cache_is_restored_although_tar_ends_before_its_archive(tmp_path, archive, code):
    content = made([("./file", tarfile.REGTYPE, 1, 0)], "pax") + bytes(20_000_000)  # what nobody reads
    packed = gzip.compress(content, 1)
    piece = {"whole": packed, "cut": packed[:60], "no gzip": b"x" * 2000}[archive]
    script = (LIB / "restore-cache").read_text().replace("/usr/lib/buildfarm", str(LIB))
    environment = {"PATH": "/usr/bin:/bin", "INTO": str(tmp_path)}
    ended = subprocess.run(
        ["bash", "-c", script], input=piece, env=environment, capture_output=True, timeout=30, check=False
    )
    assert (ended.returncode != 0) == (code != 0), ended.stderr
    assert (tmp_path / "file").exists() == (code == 0)

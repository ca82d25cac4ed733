"""The builder's shell side of text files: `as-utf8` prints them as the programs of a build need them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

LIB = Path(__file__).parents[3] / "images/builder/root/usr/lib/buildfarm"
TEXT = "# café\nsl\ncowsay=3.03\n"


def as_utf8(content: bytes, folder: Path) -> tuple[int, str]:
    (folder / "Aptfile").write_bytes(content)
    done = subprocess.run(
        ["bash", str(LIB / "as-utf8"), str(folder / "Aptfile")], capture_output=True, timeout=30, check=False
    )
    return done.returncode, done.stdout.decode()


@pytest.mark.kind("text files")
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_an_aptfile_is_printed_as_utf_8(encoding, newline, tmp_path, record_property):
    code, text = as_utf8(TEXT.replace("\n", newline).encode(encoding), tmp_path)
    assert (code, text.rstrip("\n")) == (0, TEXT.rstrip("\n"))
    record_property("seen", "the same lines")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_found_by_its_nuls(encoding, tmp_path):
    assert as_utf8("sl\ncowsay\n".encode(encoding), tmp_path) == (0, "sl\ncowsay\n")


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"caf\xe9\n", "Aptfile is not UTF-8"), (b"\xff\xfes\0l", "Aptfile is UTF-16, and is cut off")],
)
def test_another_encoding_is_refused_by_name(content, told, tmp_path):
    code, text = as_utf8(content, tmp_path)
    assert code == 1
    assert told in text


def test_an_empty_file_and_one_without_a_last_line_feed_stay_as_they_are(tmp_path):
    assert as_utf8(b"", tmp_path) == (0, "")
    assert as_utf8(b"sl", tmp_path) == (0, "sl")

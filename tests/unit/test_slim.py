"""The imager's own program: pure parts of what makes a tree from packages."""

from __future__ import annotations

import hashlib
import sys
import tarfile
from pathlib import Path

import pytest

SLIM = Path(__file__).parents[2] / "images/imager/slim"


@pytest.fixture(autouse=True)
def slim_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(SLIM))
    yield
    for name in ("archive", "closure", "packages", "problem", "compiled"):
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
    with pytest.raises(ArchiveError, match=r"has the SHA-256 .* and the recipe says 0000"):
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

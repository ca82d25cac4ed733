"""Folders that their owner cannot write to: scripts of the builder and of the node, run as a user that is not root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

import pytest
from lifecycle.layers import remove

from workers import fetch
from workers.caches import caches as cache

BUILDER = Path(__file__).parents[3] / "images/builder/root/usr/lib/buildfarm"
USER = 1000 if os.geteuid() == 0 else os.geteuid()


@pytest.fixture
def place():
    """A folder of the user's. pytest's own belong to root, and other users cannot enter them."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    for name in ("app", "cache"):
        (folder / name).mkdir()
    yield folder
    subprocess.run(["chmod", "-R", "u+rwx", folder], check=True)
    shutil.rmtree(folder)


def give_away(folder):
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            os.chown(path, USER, USER)


def tree(folder, names, modes):
    """Files below the folder, and folders with these modes."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    give_away(folder)
    for name, mode in reversed(modes.items()):
        (folder / name).chmod(mode)


def run(place, *command, stdin=b""):
    user = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    variables = {"PATH": os.environ["PATH"], "INTO": str(place / "app"), "TMPDIR": str(place), "HOME": str(place)}
    return subprocess.run(command, input=stdin, capture_output=True, check=False, env=variables, cwd=place, **user)


def in_place(place, script):
    return script.replace("/app", f"{place}/app").replace("/cache", f"{place}/cache")


def archive(entries):
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, mode in entries.items():
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = mode, 1
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            tar.addfile(info)
    return made.getvalue()


ARCHIVES = {
    "F26b: the top folder is 0555": (
        {"top/": 0o555, "top/a": 0o644, "top/b/": 0o755, "top/b/c": 0o444},
        ["a", "b", "b/c"],
    ),
    "folders in it are 0555": (
        {"top/": 0o755, "top/b/": 0o555, "top/b/d/": 0o555, "top/b/d/c": 0o444},
        ["b", "b/d", "b/d/c"],
    ),
    "a folder is closed": ({"top/": 0o755, "top/b/": 0o000, "top/b/c": 0o644}, ["b", "b/c"]),
    "there is no top folder": ({"a/": 0o555, "a/b": 0o644, "c/": 0o555, "c/d": 0o644}, ["a", "a/b", "c", "c/d"]),
}


@pytest.mark.kind("folders and caches")
@pytest.mark.parametrize("name", ARCHIVES)
def test_a_source_is_unpacked_into_folders_that_the_build_can_change(place, record_property, name):
    entries, expected = ARCHIVES[name]
    os.chown(place / "app", USER, USER)
    os.chown(place, USER, USER)
    script = (BUILDER / "unpack").read_text().replace("/tmp/source", f"{place}/source")
    script = script.replace("/usr/lib/buildfarm/", f"{BUILDER}/")
    ended = run(place, "bash", "-c", script, "unpack", "single", "1000000", "100", stdin=archive(entries))
    assert ended.returncode == 0, ended.stderr
    found = sorted(str(path.relative_to(place / "app")) for path in (place / "app").rglob("*"))
    assert found == expected
    assert run(place, "rm", "-rf", *(place / "app").iterdir()).returncode == 0
    record_property("seen", f"{len(found)} entries, removed by the user")


ENTERED = {
    "F26c: a folder beside it is 0555": (["old/x/a", "web/b"], {"old": 0o555, "old/x": 0o555}, "web"),
    "it is 0555": (["old/a", "web/b"], {"web": 0o555}, "web"),
    "it is in a folder that is 0555": (["apps/web/b", "apps/c"], {"apps": 0o555, "apps/web": 0o555}, "apps/web"),
    "a folder in it is 0555": (["web/b", "a"], {"web": 0o555}, "./web"),
}


@pytest.mark.kind("folders and caches")
@pytest.mark.parametrize("name", ENTERED)
def test_project_dir_becomes_the_app_beside_read_only_folders(place, record_property, name):
    files, modes, directory = ENTERED[name]
    tree(place / "app", files, modes)
    ended = run(place / "app", "bash", "-euc", in_place(place, fetch._ENTER), "enter", directory)
    assert ended.returncode == 0, ended.stderr
    assert [path.name for path in (place / "app").iterdir()] == ["b"]
    record_property("seen", "only b is left")


@pytest.mark.parametrize("directory", ["gone", "..", "file", "link", "/etc"])
def test_what_is_not_a_folder_of_the_source_ends_with_its_own_code(place, directory):
    tree(place / "app", ["file", "web/a"], {})
    (place / "app/link").symlink_to("web")
    ended = run(place / "app", "bash", "-euc", in_place(place, fetch._ENTER), "enter", directory)
    assert ended.returncode == fetch._NO_FOLDER
    assert (place / "app/web/a").exists()


CACHES = {
    "F26a: a folder is 0555": (["mod/x/a", "b"], {"mod": 0o555, "mod/x": 0o555}),
    "a folder is closed": (["mod/a"], {"mod": 0o000}),
    "a read-only folder has a link to a folder": (["mod/a"], {"mod": 0o555}),
    "all is writable": (["mod/a", ".hidden"], {}),
}


@pytest.mark.kind("folders and caches")
@pytest.mark.parametrize("name", CACHES)
def test_a_cache_of_other_buildpacks_is_emptied(place, record_property, name):
    files, modes = CACHES[name]
    tree(place / "app", ["kept/a"], {"kept": 0o555})
    (place / "cache/link").symlink_to(place / "app/kept")
    tree(place / "cache", files, modes)
    ended = run(place, "bash", "-c", in_place(place, cache._EMPTY))
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert list((place / "cache").iterdir()) == []
    assert (place / "app/kept").stat().st_mode & 0o777 == 0o555, "a link is not followed"
    record_property("seen", "empty, and what a link leads to is as it was")


@pytest.mark.kind("folders and caches")
@pytest.mark.parametrize("mode", [0o555, 0o000, 0o755])
def test_a_layer_with_read_only_folders_is_removed(place, record_property, mode):
    tree(place / "app", ["kept/a"], {"kept": 0o555})
    (place / "cache/layer").mkdir()
    (place / "cache/layer/link").symlink_to(place / "app/kept")
    tree(place / "cache", ["layer/mod/x/a", "other"], {"layer": mode, "layer/mod": mode, "layer/mod/x": mode})
    own = os.geteuid()
    os.seteuid(USER)
    try:
        remove(place / "cache/layer")
    finally:
        os.seteuid(own)
    assert [path.name for path in (place / "cache").iterdir()] == ["other"]
    assert (place / "app/kept").stat().st_mode & 0o777 == 0o555
    record_property("seen", "the layer is gone")

"""Image builds: Redis from packages, used for real; and recipes that cannot be, each with its reason."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import uuid
from pathlib import Path

import pytest
from conftest import Builds, wait_for

from buildfarm.cli.images import RECIPES, submit
from buildfarm.errors import RequestError
from buildfarm.model import Phase, State
from buildfarm.oci.validate import validate
from buildfarm.recipe import find_recipes

CLEARED_SECONDS = 30
REDIS = find_recipes(RECIPES)["redis"]
STAND_IN = """
name = "NAME"
summary = "A stand-in: an archive that this test made, and no server of any vendor"
[versions."1"]
suite = "trixie"
archive = { url = "http://127.0.0.1:9/stand-in.tgz", sha256 = "SHA256", into = "/opt/stand-in", licence = "none" }
[slim]
packages = ["busybox"]
programs = ["/usr/bin/busybox"]
files = ["/opt/stand-in"]
links = { "/usr/bin/sh" = "busybox", "/usr/bin/wget" = "busybox" }
[image]
entrypoint = ["/opt/stand-in/server"]
user = 999
volume = "/data"
port = 8080
health = ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"]
[budget]
uncompressed_mb = 6
compressed_mb = 3
[smoke]
stop_code = 143
write = { run = ["wget", "-q", "-O", "-", "http://database:8080/"], prints = "^a stand-in$" }
read = { run = ["wget", "-q", "-O", "-", "http://database:8080/"], prints = "^a stand-in$" }
"""
SERVER = """#!/bin/sh
trap 'exit 143' TERM
busybox httpd -f -p 8080 -h /opt/stand-in &
wait
"""


@pytest.fixture
def name(built):
    """An image of this test's own: its repository was never written before."""
    return f"{built.tenant}-{uuid.uuid4().hex[:8]}"


def changed(tmp_path: Path, name: str, *changes: tuple[str, str]) -> Path:
    """The recipe of Redis under another name, with some of its text replaced."""
    folder = tmp_path / "recipe"
    shutil.copytree(REDIS, folder)
    text = (folder / "recipe.toml").read_text()
    for old, new in (('name = "redis"', f'name = "{name}"'), *changes):
        assert old in text
        text = text.replace(old, new)
    (folder / "recipe.toml").write_text(text)
    return folder


def stand_in(tmp_path: Path, name: str) -> tuple[Path, Path]:
    """A recipe that takes an archive, and the archive."""
    content = tmp_path / "stand-in-1"
    content.mkdir()
    (content / "server").write_text(SERVER)
    (content / "server").chmod(0o755)
    (content / "index.html").write_text("a stand-in\n")
    archive = tmp_path / "stand-in.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(content, content.name)
    folder = tmp_path / "recipe"
    folder.mkdir()
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    (folder / "recipe.toml").write_text(STAND_IN.replace("NAME", name).replace("SHA256", sha256))
    return folder, archive


def refused(built: Builds, name: str, folder: Path, version: str, **given) -> tuple[str, str]:
    """Code and message of a build that must fail; nothing may be tagged."""
    build = built.ended(submit(built.farm, folder, name, version, **given).id)
    assert build.state is State.FAILED
    assert not built.farm.registry.has_manifest(f"images/{name}", version)
    return build.failure.code, build.failure.message


@pytest.mark.timeout(400)
def test_redis_is_built_tried_and_tagged_and_the_same_again(built, tmp_path, name):
    folder = changed(tmp_path, name)
    first = built.ended(submit(built.farm, folder, name, "7.0").id)
    assert first.state is State.SUCCEEDED, first.failure
    registry, digest = built.farm.registry, first.result.digest
    assert registry.get_manifest(f"images/{name}", "7.0")[2] == digest
    validate(registry, f"images/{name}", digest)
    assert any(package.startswith("redis-server=") for package in first.result.packages)
    assert first.result.phase_seconds[Phase.SMOKE] > 0
    log = built.log(first)
    for told in ("runs as user 999", "refuses a wrong password", "Lua with cjson", "data over kill -9"):
        assert f"smoke: {told}" in log or told in log
    again = built.ended(submit(built.farm, folder, name, "7.0").id)
    assert again.result.digest == digest
    assert again.result.uploaded_bytes == 0
    wait_for(lambda: built.node.left_behind() == [], CLEARED_SECONDS, built.node.left_behind)


def test_a_version_that_is_not_there_fails_the_build(built, tmp_path, name):
    code, message = refused(built, name, changed(tmp_path, name), "9.9")
    assert code == "app.recipe"
    assert "has no version '9.9'" in message


def test_an_image_over_its_budget_is_not_tagged(built, tmp_path, name):
    folder = changed(tmp_path, name, ("uncompressed_mb = 20", "uncompressed_mb = 2"))
    code, message = refused(built, name, folder, "7.0")
    assert code == "app.too_large"
    assert "over its budget: 12." in message


def test_an_image_that_fails_its_smoke_test_is_not_tagged(built, tmp_path, name):
    folder = changed(tmp_path, name, ('"greeting", "grüß dich"], prints = "^OK$"', '"greeting"], prints = "^OK$"'))
    code, message = refused(built, name, folder, "7.0")
    assert code == "app.smoke"
    assert "fails its smoke test at 'writes'" in message
    assert "wrong number of arguments" in message
    wait_for(lambda: built.node.left_behind() == [], CLEARED_SECONDS, built.node.left_behind)


def test_an_archive_is_taken_from_a_file_that_the_request_names(built, tmp_path, name):
    folder, archive = stand_in(tmp_path, name)
    build = built.ended(submit(built.farm, folder, name, "1", mirror=str(archive)).id)
    assert build.state is State.SUCCEEDED, build.failure


def test_another_archive_than_the_recipe_pins_fails_the_build(built, tmp_path, name):
    folder, archive = stand_in(tmp_path, name)
    archive.write_bytes(archive.read_bytes() + b"more")
    code, message = refused(built, name, folder, "1", mirror=str(archive))
    assert code == "app.source"
    assert "has the SHA-256" in message


def test_an_archive_that_is_not_reachable_fails_the_build(built, tmp_path, name):
    folder, _ = stand_in(tmp_path, name)
    code, message = refused(built, name, folder, "1")
    assert code == "app.source"
    assert "The archive is not reachable: http://127.0.0.1:9/stand-in.tgz" in message


def test_an_archive_that_nobody_vouches_for_is_not_even_fetched(built):
    folder = find_recipes(RECIPES)["mongodb"]
    build = built.ended(submit(built.farm, folder, "mongodb", "5.0").id)
    assert build.failure.code == "app.recipe"
    assert "pins no SHA-256" in build.failure.message


def test_a_mirror_that_is_neither_address_nor_file_is_refused_at_once(built, tmp_path, name):
    with pytest.raises(RequestError, match="neither an address nor a file"):
        submit(built.farm, REDIS, "redis", "7.0", mirror=str(tmp_path / "nothing"))

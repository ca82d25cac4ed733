"""The scripts that start databases, with stand-ins for the programs that are not there: above all the vendors'."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from buildfarm.recipes.folder import CHECKOUT_RECIPES

DATABASES = CHECKOUT_RECIPES / "databases"
PASSWORD = "  tell-tale-$'\"\\ü" + 60 * "p"  # base64 writes it in more than one line
FILE = f"\ufeff{PASSWORD}\r\nmore\n".encode()
SECONDS = 60

KEYSTORE = """#!/bin/sh
echo "$@" >>"$ROOT/called"
case $1 in
  create) [ ! -f "$ROOT/slow" ] || { : >"$ROOT/creating"; sleep 60; }; : >"$ES_PATH_CONF/elasticsearch.keystore" ;;
  add) cat >"$ROOT/given" ;;
esac
"""
NODE = """#!/bin/sh
echo "$@" >>"$ROOT/called"
"""
# With a socket, it serves until it is told to end; else it says how it was called.
MONGOD = """#!/usr/bin/python3
import os, socket, sys, time
root, words = os.environ["ROOT"], sys.argv[1:]
if words == ["--version"]:
    sys.exit(print("db version v5.0.4\\nBuild Info: {\\n  1.1.1\\n}"))
with open(root + "/called", "a") as called:
    print(*words, file=called)
if "--auth" not in words:
    open(words[words.index("--dbpath") + 1] + "/made", "w").close()
    socket.socket(socket.AF_UNIX).bind(words[words.index("--bind_ip") + 1])
    while not os.path.exists(root + "/ended"):
        time.sleep(0.01)
"""
BASE64 = """#!/bin/sh
echo "$@" >>"$ROOT/called"
exec /usr/bin/base64 "$@"
"""
SERVER = """#!/bin/sh
case $* in --version) echo "Server v=8.1.1 sha=0:0" ;; *) cat >"$ROOT/given" ;; esac
"""
MONGO = """#!/bin/sh
printf '%s ' "$@" | tr '\\n' ' ' >>"$ROOT/called"
echo >>"$ROOT/called"
[ ! -f "$ROOT/slow" ] || { : >"$ROOT/creating"; sleep 60; }
: >"$ROOT/ended"
"""


class Volume:
    """A folder that stands for the container's root, and the script with its paths below it."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        for folder in ("data", "tmp", "bin", "opt/bin", "opt/config"):
            (root / folder).mkdir(parents=True)
        (root / "opt/config/elasticsearch.yml").write_text("# the vendor's\n")
        (root / "password").write_bytes(FILE)
        for program, text in (
            ("mongod", MONGOD),
            ("mongo", MONGO),
            ("base64", BASE64),
            ("redis-server", SERVER),
            ("valkey-server", SERVER),
        ):
            self.write(f"bin/{program}", text)
        self.write("opt/bin/elasticsearch-keystore", KEYSTORE)
        self.write("opt/bin/elasticsearch", NODE)

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text)
        (self.root / path).chmod(0o755)

    def script(self, script: str = "start", port: int = 0) -> Path:
        folder = DATABASES / self.name / "root"
        text = (folder / script).read_text()
        for old, new in (("/opt/elasticsearch", "ROOT/opt"), ("/data", "ROOT/data"), ("/tmp", "ROOT/tmp")):
            text = text.replace(old, new)
        text = text.replace("/usr/lib/start", f"{folder}/usr/lib/start").replace("ROOT/", f"{self.root}/")
        self.write(script, text.replace("127.0.0.1/9200", f"127.0.0.1/{port}"))
        return self.root / script

    def command(self, *words: str, script: str = "start", port: int = 0) -> tuple[list[str], dict[str, str]]:
        shell = "bash" if script == "health" else "sh"
        environment = {
            "ROOT": str(self.root),
            "PATH": f"{self.root}/bin:/usr/bin:/bin",
            "ES_PATH_CONF": f"{self.root}/data/config",
            "ELASTIC_PASSWORD_FILE": f"{self.root}/password",
            **{f"{name}_PASSWORD_FILE": f"{self.root}/password" for name in ("MONGO", "REDIS", "VALKEY")},
            "LC_ALL": "C.UTF-8",
        }
        return [shell, str(self.script(script, port)), *words], environment

    def run(
        self, *words: str, script: str = "start", port: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        command, environment = self.command(*words, script=script, port=port)
        return subprocess.run(
            command, env=environment | variables, capture_output=True, text=True, check=False, timeout=SECONDS
        )

    def stopped(self) -> int:
        """How the script ends if it is stopped while its first program works."""
        (self.root / "slow").touch()
        command, environment = self.command()
        with subprocess.Popen(command, env=environment, start_new_session=True) as process:
            while not (self.root / "creating").exists():
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            code = process.wait(SECONDS / 2)  # the program itself works for longer
            os.killpg(process.pid, signal.SIGKILL)
        return code

    @property
    def called(self) -> list[str]:
        return (self.root / "called").read_text().splitlines()


@pytest.fixture
def short() -> Iterator[Path]:
    """A short path: a socket's has at most 108 bytes."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def elasticsearch(short) -> Volume:
    return Volume(short, "elasticsearch")


@pytest.fixture
def mongodb(short) -> Volume:
    return Volume(short, "mongodb")


def test_elasticsearch_gets_its_password_by_standard_input_and_before_the_node(elasticsearch):
    done = elasticsearch.run("-E", "node.name=one")
    assert done.returncode == 0, done.stderr
    assert (elasticsearch.root / "given").read_text() == PASSWORD + "\n"
    create, add, node = elasticsearch.called
    assert (create, add) == ("create --silent", "add --force --stdin bootstrap.password")
    assert node.endswith("-E node.name=one")
    assert "more than one line" in done.stderr
    assert (elasticsearch.root / "data/config/elasticsearch.yml").exists()


def test_elasticsearchs_second_start_keeps_its_configuration(elasticsearch):
    elasticsearch.run()
    (elasticsearch.root / "data/config/elasticsearch.yml").write_text("ours: 1\n")
    (elasticsearch.root / "called").unlink()
    elasticsearch.run()
    assert [call.split()[0] for call in elasticsearch.called] == ["add", "-E"]
    assert (elasticsearch.root / "data/config/elasticsearch.yml").read_text() == "ours: 1\n"


def test_a_half_made_copy_of_elasticsearchs_configuration_is_made_anew(elasticsearch):
    half = elasticsearch.root / "data/config.new"
    half.mkdir()
    (half / "half").touch()
    done = elasticsearch.run()
    assert "is half-made and is made anew" in done.stderr
    assert [path.name for path in (elasticsearch.root / "data").iterdir()] == ["config"]
    assert not (elasticsearch.root / "data/config/half").exists()


@pytest.mark.parametrize("name", ["elasticsearch", "mongodb"])
def test_a_password_that_is_not_one_ends_the_start_before_anything_is_made(short, name):
    volume = Volume(short, name)
    (short / "password").write_bytes(b"\r\n")
    done = volume.run()
    assert done.returncode == 64
    assert "first line is empty" in done.stderr
    assert not list((short / "data").iterdir())


@pytest.mark.parametrize("name", ["elasticsearch", "mongodb"])
def test_a_stop_signal_ends_a_first_start_at_once_and_the_next_one_completes(short, name):
    volume = Volume(short, name)
    assert volume.stopped() == 143
    (short / "slow").unlink()
    (short / "ended").unlink(missing_ok=True)
    done = volume.run()
    assert done.returncode == 0, done.stderr


class Node(BaseHTTPRequestHandler):
    """Answers as a node does that knows one password."""

    def do_GET(self) -> None:
        login = base64.b64encode(f"elastic:{PASSWORD}".encode()).decode()
        known = self.path == "/_cluster/health" and self.headers["Authorization"] == f"Basic {login}"
        self.send_response(200 if known else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def node() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Node) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_elasticsearch_is_healthy_if_it_answers_after_the_password(elasticsearch, node):
    assert elasticsearch.run(script="health", port=node).returncode == 0
    assert elasticsearch.called == [""]  # of the programs that it runs, none has the password as an argument
    (elasticsearch.root / "password").write_text("another")
    assert elasticsearch.run(script="health", port=node).returncode == 1


def test_elasticsearch_is_not_healthy_if_nothing_answers(elasticsearch):
    assert elasticsearch.run(script="health", port=1).returncode == 1


def test_mongodb_makes_its_user_on_a_server_that_no_network_reaches(mongodb):
    done = mongodb.run("--quiet")
    assert done.returncode == 0, done.stderr
    root = mongodb.root
    first, shell, server = mongodb.called
    socket = f"{root}/tmp/first/first.sock"
    assert first == f"--dbpath {root}/data/main.new --bind_ip {socket} --unixSocketPrefix {root}/tmp/first"
    assert f"mongodb://{socket.replace('/', '%2F')}/admin" in shell
    assert "tell-tale" not in shell
    assert server == f"--auth --dbpath {root}/data/main --bind_ip_all --unixSocketPrefix {root}/tmp --quiet"
    assert (root / "tmp/first").stat().st_mode & 0o777 == 0o700
    assert (root / "data/main/made").exists()


def test_mongodb_makes_a_half_made_database_anew_and_no_other(mongodb):
    half = mongodb.root / "data/main.new"
    half.mkdir()
    (half / "half").touch()
    assert "is half-made and is made anew" in mongodb.run().stderr
    assert not (mongodb.root / "data/main/half").exists()
    (mongodb.root / "called").unlink()
    assert "note:" not in mongodb.run().stderr.replace("note: " + str(mongodb.root / "password"), "")
    assert len(mongodb.called) == 1


def test_mongodb_takes_settings_by_file_and_by_environment(mongodb):
    mongodb.run(MONGO_SETTINGS_FILE="/given", MONGO_SETTINGS="--slowms 77 --setParameter a=*")
    assert mongodb.called[-1].endswith("--slowms 77 --setParameter a=*")
    assert "--config /given" not in mongodb.called[0]
    assert "--config /given" in mongodb.called[-1]


def test_mongodb_refuses_another_versions_volume_unless_it_is_told_to_accept_it(mongodb):
    mongodb.run()
    note = mongodb.root / "data/version"
    assert note.read_text() == "5.0\n"
    note.write_text("4.4\n")
    done = mongodb.run()
    assert done.returncode == 64
    assert "refused: the volume has a database of MongoDB 4.4, and this image is MongoDB 5.0; go from" in done.stderr
    assert mongodb.run(MONGO_OTHER_VERSION="accept").returncode == 0
    assert note.read_text() == "5.0\n"


@pytest.mark.parametrize("name", ["redis", "valkey"])
@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("REDIS0013", "is of a newer server (format 13)"),
        ("VALKEY080", "is of a newer Valkey (format 80)"),
        ("REDIS0011", ""),
        ("another file", ""),
    ],
)
def test_files_that_a_newer_server_wrote_are_refused_with_what_to_do(short, name, head, said):
    volume = Volume(short, name)
    (short / "data/dump.rdb").write_bytes(head.encode() + b"\xfa\x09valkey-ver\x05\n")
    done = volume.run()
    assert done.returncode == (64 if said else 0), done.stderr
    assert said in done.stderr
    assert ("(docs/images.md, Upgrades)" in done.stderr) == bool(said)
    assert (short / "given").exists() != bool(said)

"""Builds by an engine, spoken to over the wire: what is sent, and what is made of each of its answers."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import docker
import pytest

from buildfarm.errors import Cancelled, DeadlineError, NodeError, RecipeError
from buildfarm.recipes.parts import Dockerfile
from workers.build_folder import BuildFolder
from workers.image_builds.dockerfile import DockerfileBuild, EngineLimits, packed

WANTED = Dockerfile(takes=("tool",), file="tool/Dockerfile", target="small", arguments={"A": "b"}, trusts="ca.crt")


@pytest.fixture
def context(tmp_path):
    context = tmp_path / "checkout"
    (context / "tool").mkdir(parents=True)
    (context / "tool/Dockerfile").write_text("FROM base\n")
    return context


def entries(context, bundle=None):
    with packed(BuildFolder(context), WANTED, bundle) as stream:
        content = b"".join(stream)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return content, {entry.name.removeprefix("./"): entry for entry in archive}


def test_the_same_files_are_the_same_context_whoever_checked_them_out(context):
    (context / "tool/run").write_text("#!/bin/sh\n")
    (context / "tool/run").chmod(0o700)
    first, _ = entries(context)
    (context / "tool/run").chmod(0o775)
    (context / "tool/Dockerfile").chmod(0o600)
    (context / "tool").chmod(0o700)
    os.utime(context / "tool/run", (7, 7))
    second, found = entries(context)
    assert first == second
    modes = {name: entry.mode for name, entry in found.items()}
    assert modes["tool/run"] == modes["tool"] == 0o755
    assert modes["tool/Dockerfile"] == 0o644
    assert {(entry.mtime, entry.uid, entry.gid) for entry in found.values()} == {(1, 0, 0)}


def test_a_link_in_the_context_stays_a_link_and_what_is_trusted_is_not_written_through_it(context, tmp_path):
    bundle, target = tmp_path / "bundle", tmp_path / "target"
    bundle.write_text("certificates")
    target.write_text("the node's own")
    (context / "out").symlink_to(target)
    (context / "ca.crt").symlink_to(target)
    content, found = entries(context, bundle)
    assert found["out"].issym()
    assert b"certificates" in content
    assert b"the node's own" not in content
    assert target.read_text() == "the node's own"


def test_where_nothing_is_to_be_trusted_the_place_for_it_is_empty(context):
    assert entries(context)[1]["ca.crt"].size == 0


@contextmanager
def engine(answer):
    """An engine that answers with a status and bytes, or with what ``answer`` says; its client, and the query."""
    asked = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            asked["path"] = self.path
            self.finish_with(answer)

        def do_POST(self):
            asked.update(parse_qs(urlsplit(self.path).query))
            while size := int(self.rfile.readline(), 16):  # the context comes in chunks
                self.rfile.read(size + 2)
            self.rfile.readline()
            if isinstance(answer, tuple):
                self.finish_with(answer)
                return
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            answer(self.say, self.connection)
            self.wfile.write(b"0\r\n\r\n")

        def finish_with(self, answer):
            status, content = answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def say(self, **message):
            line = json.dumps(message).encode() + b"\r\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = docker.DockerClient(base_url=f"http://127.0.0.1:{server.server_port}", version="1.41")
        try:
            yield client, asked
        finally:
            client.close()
            server.shutdown()


def build(client, context, *, check=lambda: None, silence_seconds=5.0):
    log, steps = [], []
    limits = EngineLimits("builds", silence_seconds, memory_bytes=1000, cpus=1.5)
    DockerfileBuild(
        client, BuildFolder(context), WANTED, "registry/base@sha256:0", "name:tag", limits, log.append, check
    ).run(cache=False, made=steps.append)
    return b"".join(log), steps


def test_a_build_asks_for_the_nodes_network_and_limits_and_hears_every_step(context):
    def answer(say, _):
        say(stream="Step 1/2 : FROM base\n")
        say(stream=" ---> 0123456789ab\n")
        say(stream="hello\n")
        say(aux={"ID": "sha256:0"})
        say(stream="Successfully tagged name:tag\n")

    with engine(answer) as (client, asked):
        log, steps = build(client, context)
    assert b"hello\n" in log
    assert steps == ["0123456789ab"]
    sent = {name: values[0] for name, values in asked.items()}
    assert (sent["networkmode"], sent["memory"], sent["memswap"]) == ("builds", "1000", "1000")
    assert int(sent["cpuquota"]) == 1.5 * int(sent["cpuperiod"])
    assert (sent["dockerfile"], sent["target"], sent["t"]) == ("tool/Dockerfile", "small", "name:tag")
    assert json.loads(sent["buildargs"]) == {"A": "b", "BASE": "registry/base@sha256:0"}
    assert sent["nocache"] == sent["forcerm"] == "True"


def test_a_step_that_fails_is_told_with_its_last_words(context):
    def answer(say, _):
        say(stream="\x1b[91mE: no such package\n\x1b[0m")
        say(stream="\x1b[0mRemoving intermediate container 0123456789ab\n")
        say(error="The command 'x' returned a non-zero code: 100", errorDetail={"code": 100, "message": "x"})

    with engine(answer) as (client, _), pytest.raises(RecipeError, match="code: 100: E: no such package"):
        build(client, context)


def test_a_step_that_was_killed_says_what_may_be_the_reason(context):
    def answer(say, _):
        say(error="The command 'x' returned a non-zero code: 137", errorDetail={"code": 137})

    with engine(answer) as (client, _), pytest.raises(RecipeError, match="BUILDFARM_MEMORY_BYTES"):
        build(client, context)


@pytest.mark.parametrize(("status", "kind"), [(400, RecipeError), (500, NodeError)])
def test_a_refusal_is_the_recipes_or_the_nodes_by_the_engines_answer(context, status, kind):
    answer = (status, b'{"message":"unknown instruction"}')
    with engine(answer) as (client, _), pytest.raises(kind, match="unknown instruction"):
        build(client, context)


def test_an_engine_that_ends_without_a_word_has_built_nothing(context):
    def answer(say, _):
        say(stream="Step 1/2 : FROM base\n")
        say(aux={"ID": "sha256:0"})  # of the first of two stages

    with engine(answer) as (client, _), pytest.raises(NodeError, match="did not report how the build ended"):
        build(client, context)


@pytest.mark.parametrize("why", ["cancelled", "silent"])
def test_a_build_that_has_to_end_closes_its_connection_at_once(context, why):
    hung_up = threading.Event()

    def answer(say, connection):
        say(stream="Step 1/2\n")
        connection.settimeout(10)
        if connection.recv(1) == b"":
            hung_up.set()

    started = time.monotonic()

    def check():
        if why == "cancelled" and time.monotonic() - started > 0.2:
            raise Cancelled("It was cancelled.")

    with engine(answer) as (client, _):
        with pytest.raises(Cancelled if why == "cancelled" else DeadlineError):
            build(client, context, check=check, silence_seconds=5.0 if why == "cancelled" else 0.5)
        assert hung_up.wait(5)


def test_a_dockerfile_that_did_not_come_along_is_told(context, tmp_path):
    (context / "tool/Dockerfile").unlink()
    with pytest.raises(RecipeError, match=r"no tool/Dockerfile"):
        build(None, context)
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(RecipeError, match=r"no tool/Dockerfile"):
        build(None, tmp_path / "link")

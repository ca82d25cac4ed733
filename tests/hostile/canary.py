"""Canary secrets: a build gets some, works with them, and lets some slip; then everything that is kept is searched."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from buildfarm.model import Build, State
from buildfarm.oci.digest import Digest
from testkit.cluster import containers
from tests.hostile.arena import Arena
from tests.hostile.attack import Outcome, attack

_KEPT = "(canary|quiet)-[0-9a-f]{32}"
SCRIPT = """
echo "digest $(printf %s "$CANARY_MARKED" | sha256sum)"
echo "token=$CANARY_MARKED" "$(printf %s "$CANARY_MARKED" | base64 -w0)"
printf %s "$CANARY_MARKED" | fold -w 7 | head -1
cat /platform/env/CANARY_MARKED; echo
mkdir -p "$npm_config_cache"; echo x >"$npm_config_cache/kept"; echo x >/cache/kept
echo READY; until curl -fs WEB/looked >/dev/null; do sleep 0.1; done
"""


@attack(
    "found in ENV_DIR of their own build and nowhere else, where they are marked; others at least never at rest",
    quick=True,
)
def canary_secrets(arena: Arena) -> Outcome:
    marked, plain = f"canary-{uuid.uuid4().hex}", f"quiet-{uuid.uuid4().hex}"
    build = arena.script(
        SCRIPT.replace("WEB", arena.web),
        app="canary",
        env={"CANARY_MARKED": marked, "CANARY": plain},
        secrets=("CANARY_MARKED",),
    )
    failing = arena.script(
        'echo "$CANARY_MARKED"; echo "web: run $CANARY_MARKED" >Procfile', app="leaky",
        env={"CANARY_MARKED": marked}, secrets=("CANARY_MARKED",),
    )  # fmt: skip
    places = dict(_while_it_runs(arena, build))
    ended, failed = arena.ended(build), arena.ended(failing)
    if ended.state is not State.SUCCEEDED:
        return f"{ended.failure}", False
    delivered = hashlib.sha256(marked.encode()).hexdigest() in arena.text(ended)
    places |= dict(_afterwards(arena, ended, failed))
    forms = [form.encode() for form in (marked, plain, quote(marked), base64.b64encode(marked.encode()).decode())]
    found = [place for place, content in places.items() if any(form in content for form in forms)]
    refused = failed.failure is not None and failed.failure.code == "app.compile"
    told = f"delivered: {delivered}; {len(places)} places searched; found in: {found or 'none'}"
    return f"{told}; in a Procfile: refused {refused}", delivered and refused and not found


def _while_it_runs(arena: Arena, build: Build) -> Iterator[tuple[str, bytes]]:
    deadline = time.monotonic() + 60
    while "READY" not in arena.text(build):
        assert time.monotonic() < deadline and not arena.farm.get(build.id).state.final, arena.text(build)[-400:]
        time.sleep(0.05)
    # One of the sandbox pool does not have the build's name. Another one may go meanwhile.
    ask = ["docker", "ps", "--quiet", "--filter", f"label=buildfarm.node={arena.node_id}"]
    containers_there = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split()
    inspected = subprocess.run(["docker", "inspect", *containers_there], check=False, capture_output=True).stdout
    assert b"buildfarm.attempt" in inspected
    yield "inspect", inspected
    yield "arguments of processes", b"".join(_command_lines())
    yield "Redis while it runs", _redis(arena)
    (arena.web_root / "looked").touch()  # now it may end


def _command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # a process may end meanwhile
            yield path.read_bytes()


def _afterwards(arena: Arena, ended: Build, failed: Build) -> Iterator[tuple[str, bytes]]:
    registry, result = arena.farm.registry, ended.result
    assert result is not None
    manifest = arena.manifest(ended)
    yield (
        "manifest and config",
        registry.get_manifest(result.repository, result.digest)[1]
        + registry.read_blob(result.repository, manifest.config.digest),
    )
    yield "layers", b"".join(gzip.decompress(content) for _, content in arena.layers(ended))
    cache = f"caches/{arena.tenant}/canary"
    deadline = time.monotonic() + 20
    while not registry.has_manifest(cache, "cache"):  # it is kept after the build's end was told
        assert time.monotonic() < deadline, "the build cache was not kept"
        time.sleep(0.1)
    _, content, _ = registry.get_manifest(cache, "cache")
    blobs = [Digest(layer["digest"]) for layer in json.loads(content)["layers"]]
    yield (
        "build cache",
        b"".join(gzip.decompress(registry.read_blob(cache, blob, limit_bytes=1 << 28)) for blob in blobs),
    )
    yield "registry's files", containers.grep("registry", _KEPT, "/var/lib/registry")
    yield "Redis", _redis(arena)
    yield "Redis's files", containers.grep("redis", _KEPT, "/data")  # its journal of all writes
    yield "records", (arena.farm.get(ended.id).model_dump_json() + arena.farm.get(failed.id).model_dump_json()).encode()
    yield "logs of builds", (arena.text(ended) + arena.text(failed)).encode()
    yield "log of the node", arena.log_file.read_bytes()
    with urllib.request.urlopen(f"http://127.0.0.1:{arena.metrics_port}/metrics") as answer:
        metrics = answer.read()
    assert b"buildfarm_" in metrics
    yield "metrics", metrics


def _redis(arena: Arena) -> bytes:
    """Every key of this run with its whole value, as Redis serialises it."""
    client = arena.farm.database.client
    parts = []
    for key in client.scan_iter(f"{arena.farm.settings.namespace}*", count=1000):
        kind = client.type(key)
        match kind:
            case "hash":
                parts.append(repr(client.hgetall(key)))
            case "string":
                parts.append(repr(client.get(key)))
            case "stream":
                parts.append(repr(client.xrange(key)))
            case "zset":
                parts.append(repr(client.zrange(key, 0, -1)))
            case "list":
                parts.append(repr(client.lrange(key, 0, -1)))
            case "set":
                parts.append(repr(client.smembers(key)))
    assert any("READY" in part for part in parts), "the log's stream is among what was read"
    return "\n".join(parts).encode()

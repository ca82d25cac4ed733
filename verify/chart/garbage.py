"""Garbage collection on a real registry with the chart's own configuration: what stays runs, what goes frees bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from buildfarm.gc.choose import Rules
from buildfarm.gc.collect import collect
from buildfarm.gc.storage import Storage
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.settings import read_settings
from testkit.chart.manifests import CHART, only, read, render
from testkit.chart.tools import HELM
from testkit.registry.disk import Disk
from testkit.table import Claims

APPS, DEPLOYS = 50, 5
KEPT = 2  # newest images of an app
PORT = 5065
NAME = "buildfarm-verify-garbage"
CODE_BYTES, DEPENDENCIES_BYTES = 20_000, 200_000
REGISTRY_USER = 998
MANY, MANY_GO, MANY_SECONDS = 20_000, 5_000, 60
OLD = 9000.0  # seconds
RULES = Rules(images=KEPT, source_seconds=0, cache_seconds=3600, grace_seconds=0)

_TYPES = "application/vnd.docker.distribution.manifest.v2+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_CONFIG = "application/vnd.docker.container.image.v1+json"


@dataclass(frozen=True)
class Packed:
    """A layer of an image."""

    content: bytes  # compressed
    digest: Digest
    diff_id: str


def run(claims: Claims) -> None:
    client = docker.DockerClient(read_settings().docker_url)
    with _registry(client) as (registry, root):
        base = _base(client)
        images = [[_deploy(registry, base, app, deploy) for deploy in range(DEPLOYS)] for app in range(APPS)]
        # A record of a build still names the very first image of the first app.
        recorded = images[0][0]
        before = _bytes(root)
        done = collect(Storage(root), {recorded}, RULES, really=True, settle_seconds=1)
        freed = before - _bytes(root)
        staying = [(app, digest) for app, row in enumerate(images) for digest in row[-KEPT:]] + [(0, recorded)]
        going = [(app, digest) for app, row in enumerate(images) for digest in row[:-KEPT] if digest != recorded]
        left = [digest for app, digest in going if registry.has_manifest(f"apps/app-{app}", Digest(digest))]
        figure = (
            f"{done.manifests} manifests, {done.blobs} blobs, {done.freed_bytes:,} bytes freed of {before:,}"
            f" (all files together: {freed:,} fewer)"
        )
        claims.add(
            f"garbage of {APPS} apps x {DEPLOYS} deploys goes, and its bytes",
            figure,
            not left and done.manifests == len(going) and freed >= done.freed_bytes > 0,
        )
        broken = [f"app-{app}" for app, digest in staying if not _runs(app, digest)]
        figure = f"{len(staying) - len(broken)} of {len(staying)} pulled by digest and run"
        claims.add("every image that is still referred to runs", figure, not broken)
        again = collect(Storage(root), {recorded}, RULES, really=True, settle_seconds=1)
        claims.add("a second collection finds nothing", f"{again.freed_bytes} bytes", again.freed_bytes == 0)
        _deploy(registry, base, 0, DEPLOYS)
        claims.add("the registry takes the next deploy, and what went is sent anew", "pushed", True)
    client.close()
    _many(claims)


def _many(claims: Claims) -> None:
    """A quarter of 20,000 images goes; each has its own layer, and apps share others."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        disk = Disk(Path(folder), time.time()).make()
        shared = [disk.blob(f"shared {number}".encode() * 100, OLD) for number in range(50)]
        staying: set[str] = set(shared)
        for number in range(MANY):
            repository = f"apps/tenant-{number % 100}/app-{number % 2000}"
            layers = [disk.blob(f"own {number}".encode() * 500, OLD), shared[number % 50], shared[(number + 1) % 50]]
            goes = number < MANY_GO
            tags = () if goes else (f"v{number}",)
            image = disk.manifest(repository, layers, tags, age=OLD + MANY - number, text=str(number))
            staying |= set() if goes else {image, *layers}
        done = collect(Storage(Path(folder)), (), Rules(images=0, grace_seconds=60), really=True)
        left = {digest for digest, _, _ in Storage(Path(folder)).blobs()}
        figure = f"{done.seconds:.1f} s, {done.manifests:,} manifests, {done.blobs:,} blobs"
        good = done.manifests == MANY_GO and done.seconds <= MANY_SECONDS
        claims.add(f"{MANY_GO:,} of {MANY:,} images are collected within {MANY_SECONDS} s", figure, good)
        claims.add("nothing that is referred to was removed", f"{len(left):,} blobs are left", left == staying)


@contextmanager
def _registry(client: docker.DockerClient) -> Iterator[tuple[Registry, Path]]:
    text, _ = render(HELM[-1].helm(), CHART / "ci" / "default-values.yaml", "1.34.0")
    config = next(item for item in read(text) if "registry.yml" in item.get("data", {}))["data"]["registry.yml"]
    command = only(read(text), "Deployment", "registry")["spec"]["template"]["spec"]["containers"][0]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        root = Path(folder) / "data"
        root.mkdir()
        os.chown(root, REGISTRY_USER, REGISTRY_USER)
        Path(folder).chmod(0o755)
        (Path(folder) / "registry.yml").write_text(config)
        engine: Any = client.containers
        with suppress(docker.errors.NotFound):  # of a run that was killed
            engine.get(NAME).remove(force=True)
        container = engine.run(
            image=_image(client),
            command=list(command["args"]),
            entrypoint=list(command["command"]),
            detach=True,
            name=NAME,
            ports={"5000/tcp": ("127.0.0.1", PORT)},
            volumes=[f"{folder}:/etc/buildfarm/chart:ro", f"{root}:/var/lib/registry"],
        )
        try:
            with Registry(f"http://127.0.0.1:{PORT}", attempts=8) as registry:
                registry.ping()
                yield registry, root
        finally:
            container.remove(force=True, v=True)
            for image in client.images.list():
                for name in image.attrs.get("RepoDigests") or ():
                    if name.startswith(f"127.0.0.1:{PORT}/"):
                        client.images.remove(name, force=True)


def _image(client: docker.DockerClient) -> str:
    """The farm's own registry image."""
    return str(client.api.inspect_container("buildfarm-registry")["Image"])


def _base(client: docker.DockerClient) -> Packed:
    """A layer with a shell in it: the registry's own image, flattened."""
    container = client.containers.create(_image(client))
    try:
        pieces: Any = container.export()
        return _packed(b"".join(pieces))
    finally:
        container.remove(v=True)


def _deploy(registry: Registry, base: Packed, app: int, deploy: int) -> str:
    """Pushes an image of three layers under the tag latest; its first deploys share their dependencies."""
    version = f"{app}-{deploy}"
    repository = f"apps/app-{app}"
    layers = [
        base,
        _packed(_tar("deps", f"{app}-{deploy // 3}", DEPENDENCIES_BYTES)),
        _packed(_tar("version", version, CODE_BYTES)),
    ]
    for layer in layers:
        known = registry.has_blob(repository, layer.digest) or registry.mount(repository, layer.digest, "apps/app-0")
        if not known:
            registry.put_blob(repository, layer.content)
    described = [{"mediaType": _LAYER, "size": len(layer.content), "digest": str(layer.digest)} for layer in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/usr/bin/sh", "-c", "read -r line < /app/version && echo $line"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [],
    }
    content = json.dumps(config).encode()
    described_config = {
        "mediaType": _CONFIG,
        "size": len(content),
        "digest": str(registry.put_blob(repository, content)),
    }
    manifest = {"schemaVersion": 2, "mediaType": _TYPES, "config": described_config, "layers": described}
    return str(registry.put_manifest(repository, json.dumps(manifest).encode(), _TYPES, tag="latest"))


def _packed(content: bytes) -> Packed:
    packed = gzip.compress(content, 1, mtime=0)
    return Packed(packed, Digest.of(packed), "sha256:" + hashlib.sha256(content).hexdigest())


def _tar(name: str, text: str, size: int) -> bytes:
    noise = b"".join(hashlib.sha256(f"{text}{number}".encode()).hexdigest().encode() for number in range(size // 64))
    content = text.encode() + b"\n" + noise
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        item = tarfile.TarInfo(f"app/{name}")
        item.size = len(content)
        archive.addfile(item, io.BytesIO(content))
    return buffer.getvalue()


def _runs(app: int, digest: str) -> bool:
    reference = f"127.0.0.1:{PORT}/apps/app-{app}@{digest}"
    command = ["docker", "run", "--rm", "--network=none", "--user=0", "--entrypoint=/usr/bin/sh", reference]
    program = ["-c", "read -r line < /app/version && echo $line"]
    done = subprocess.run([*command, *program], capture_output=True, text=True, check=False, timeout=120)
    return done.returncode == 0 and done.stdout.startswith(f"{app}-")


def _bytes(root: Path) -> int:
    for _ in range(3):
        try:
            return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file())
        except FileNotFoundError:
            time.sleep(0.1)
    raise SystemExit(f"{root} changes all the time.")

"""A registry in a separate container, whose files a test can reach: the farm's image with the farm's configuration."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from buildfarm.oci.registry import Registry
from workers.engine import open_engine

_CONFIGURATION = Path(__file__).parents[2] / "images/registry/root/etc/buildfarm/registry.yml"
USER = 998  # of the registry's processes


@contextmanager
def storage_folder() -> Iterator[Path]:
    """An empty folder that the registry's user can write to, which the folders of tests are not."""
    path = Path(f"/var/tmp/buildfarm-test-{uuid.uuid4().hex[:8]}")
    path.mkdir()
    os.chown(path, USER, USER)
    try:
        yield path
    finally:
        subprocess.run(["rm", "-rf", path], check=True)


@contextmanager
def registry_on(
    folder: Path, docker_url: str, name: str | None = None, *, port: int | None = None
) -> Iterator[Registry]:
    """A registry whose files are in this folder; ``name`` is its container's, ``port`` None any that is free."""
    client = open_engine(docker_url)
    engine: Any = client.containers
    container = engine.run(
        client.api.inspect_container("buildfarm-registry")["Image"],
        entrypoint=["/usr/bin/docker-registry"],
        command=["serve", "/registry.yml"],
        detach=True,
        name=name,
        ports={"5000/tcp": ("127.0.0.1", port)},
        volumes=[f"{_CONFIGURATION}:/registry.yml:ro", f"{folder}:/var/lib/registry"],
    )
    try:
        container.reload()
        found = container.ports["5000/tcp"][0]["HostPort"]
        with Registry(f"http://127.0.0.1:{found}", attempts=8) as registry:
            registry.ping()
            yield registry
    finally:
        container.remove(force=True, v=True)
        client.close()


@contextmanager
def registry_on_bucket(address: str, port: int, folder: Path, docker_url: str, name: str) -> Iterator[Registry]:
    """A registry on a bucket of S3 at this address, as the chart's is; its configuration is written to the folder."""
    path = folder / "registry.yml"
    path.write_text(
        f"""\
version: 0.1
log: {{level: warn}}
storage:
  s3: {{region: us-east-1, bucket: registry, regionendpoint: "{address}", accesskey: a, secretkey: b, secure: false}}
  delete: {{enabled: true}}
  redirect: {{disable: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""
    )
    path.chmod(0o644)
    client = open_engine(docker_url)
    engine: Any = client.containers
    container = engine.run(
        client.api.inspect_container("buildfarm-registry")["Image"],
        entrypoint=["/usr/bin/docker-registry"],
        command=["serve", "/registry.yml"],
        detach=True,
        name=name,
        network_mode="host",
        volumes=[f"{path}:/registry.yml:ro"],
    )
    try:
        with Registry(f"http://127.0.0.1:{port}", attempts=8) as registry:
            registry.ping()
            yield registry
    finally:
        container.remove(force=True, v=True)
        client.close()


def own_collector(docker_url: str, name: str) -> Callable[..., str]:
    """The collector of the registry in this container: with options, it returns what it prints."""

    def run(*options: str) -> str:
        program = ["/usr/bin/docker-registry", "garbage-collect", *options, "/registry.yml"]
        command = ["docker", "--host", docker_url, "exec", name, *program]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return run

"""A registry in a separate container, whose files a test can reach: the farm's image with the farm's configuration."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
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
def registry_on(folder: Path, docker_url: str, name: str | None = None) -> Iterator[Registry]:
    """A registry whose files are in this folder; ``name`` is its container's."""
    client = open_engine(docker_url)
    engine: Any = client.containers
    container = engine.run(
        client.api.inspect_container("buildfarm-registry")["Image"],
        entrypoint=["/usr/bin/docker-registry"],
        command=["serve", "/registry.yml"],
        detach=True,
        name=name,
        ports={"5000/tcp": ("127.0.0.1", None)},
        volumes=[f"{_CONFIGURATION}:/registry.yml:ro", f"{folder}:/var/lib/registry"],
    )
    try:
        container.reload()
        port = container.ports["5000/tcp"][0]["HostPort"]
        with Registry(f"http://127.0.0.1:{port}", attempts=8) as registry:
            registry.ping()
            yield registry
    finally:
        container.remove(force=True, v=True)
        client.close()

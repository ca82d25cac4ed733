"""A Redis and a registry with folders that can be copied away and put back."""

from __future__ import annotations

import shutil
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from pydantic import SecretStr

from buildfarm.farm import Farm, open_farm
from buildfarm.settings import read_settings
from testkit.cluster.shell import run, wait
from testkit.registry.own import registry_on, storage_folder
from testkit.table import Claims

READY_SECONDS = 30
REDIS, REGISTRY, APPENDED = "redis", "registry", "appendonlydir"


@dataclass(frozen=True)
class State:
    """What both keep on disk."""

    folder: Path

    @property
    def redis(self) -> Path:
        """Redis's data."""
        return self.folder / REDIS

    @property
    def registry(self) -> Path:
        """The registry's files."""
        return self.folder / REGISTRY


def new_state(top: Path, *, redis_from: State | None = None, registry_from: State | None = None) -> State:
    """Each part a copy of an earlier one, or empty. Times of files stay, as with a snapshot of a volume."""
    state = State(top / uuid.uuid4().hex[:8])
    state.folder.mkdir()
    _fill(state.redis, redis_from.redis if redis_from else None)
    _fill(state.registry, registry_from.registry if registry_from else None)
    return state


def _fill(folder: Path, source: Path | None) -> None:
    if source:
        copy(source, folder)
    else:
        folder.mkdir()
        folder.chmod(0o777)  # the registry has a user of its own


def copy(source: Path, target: Path) -> None:
    """With owners and times. Of a registry that runs, uploads may come and go meanwhile."""
    subprocess.run(["cp", "-a", source, target], check=False, stderr=subprocess.DEVNULL)
    if not target.is_dir():
        raise RuntimeError(f"{source} cannot be copied")


@contextmanager
def farm_on(state: State, namespace: str, *, port: int | None = None, **changes: str) -> Iterator[Farm]:
    """A farm whose Redis and registry run over these folders, until the block ends; ``changes`` are settings.

    ``port`` is the registry's: signatures name its address.
    """
    settings = read_settings()
    with ExitStack() as stack:
        url = stack.enter_context(_redis_on(state.redis))
        registry = stack.enter_context(registry_on(state.registry, settings.docker_url, port=port))
        values = {
            "redis_url": SecretStr(url), "namespace": namespace, "registry_url": f"http://{registry.host}",
            "registry_storage": state.registry, "builder": "", **changes,
        }  # fmt: skip
        yield stack.enter_context(open_farm(settings.model_copy(update=values)))


@contextmanager
def _redis_on(folder: Path) -> Iterator[str]:
    name, port = f"buildfarm-verify-restore-{uuid.uuid4().hex[:8]}", free_port()
    image = run("docker", "inspect", "--format={{.Image}}", "buildfarm-redis").strip()
    run(
        "docker", "run", "--detach", "--rm", f"--name={name}", f"--publish=127.0.0.1:{port}:6379", "--user=0",
        f"--volume={folder}:/data", "--entrypoint=redis-server", image, "--protected-mode", "no", "--dir", "/data",
        "--appendonly", "yes", "--appendfsync", "always", "--save", "",
    )  # fmt: skip
    try:
        url = f"redis://127.0.0.1:{port}/0"
        with redis.Redis.from_url(url, socket_timeout=1) as client:
            wait(lambda: _answers(client), "Redis does not answer", READY_SECONDS)
        yield url
    finally:
        run("docker", "rm", "--force", "--volumes", name, check=False)


def back_up_redis(client: Any, data: Path, target: Path) -> None:
    """While it runs, as docs/operating.md has it."""
    client.config_set("auto-aof-rewrite-percentage", 0)
    try:
        client.bgrewriteaof()
        wait(lambda: not _rewrites(client), "Redis goes on rewriting its log", READY_SECONDS)
        target.mkdir()
        shutil.copytree(data / APPENDED, target / APPENDED)
    finally:
        client.config_set("auto-aof-rewrite-percentage", 100)


def _rewrites(client: Any) -> bool:
    found = client.info("persistence")
    return bool(found["aof_rewrite_in_progress"] or found["aof_rewrite_scheduled"])


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def show(tables: Callable[[Path], list[Claims]]) -> None:
    """Ends the process with what these tables say; they have a folder for what services keep on disk."""
    with storage_folder() as top:
        found = tables(top)
    raise SystemExit(max(claims.shown() for claims in found))


def free_port() -> int:
    """One that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

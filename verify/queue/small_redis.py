"""A Redis with little memory, in a container of the local farm's own image, for what may fill it up."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from testkit.cluster.shell import run, wait

_READY_SECONDS = 20


@contextmanager
def small_redis(memory: str, *options: str, name: str = "") -> Iterator[str]:
    """The address of an empty Redis with this `maxmemory`, on a port of the loopback address."""
    name = name or f"buildfarm-small-redis-{uuid.uuid4().hex[:8]}"
    image = run("docker", "inspect", "--format={{.Image}}", "buildfarm-redis").strip()
    limits = ("--maxmemory", memory, "--maxmemory-policy", "noeviction")
    run(
        "docker", "run", "--detach", "--rm", f"--name={name}", "--publish=127.0.0.1::6379", "--entrypoint=redis-server",
        image, "--protected-mode", "no", *limits, *options,
    )  # fmt: skip
    try:
        url = f"redis://{run('docker', 'port', name, '6379/tcp').splitlines()[0]}/0"
        _wait_for(url)
        yield url
    finally:
        run("docker", "rm", "--force", "--volumes", name, check=False)


def _wait_for(url: str) -> None:
    with redis.Redis.from_url(url, socket_timeout=1) as client:
        wait(lambda: _answers(client), "the small Redis does not answer", _READY_SECONDS)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False

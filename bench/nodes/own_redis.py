"""A Redis of this bench's own, in a container without a network of its own, that writes every change to its disk."""

from __future__ import annotations

import resource
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from bench.measure import TICK_SECONDS
from testkit.cluster.shell import run, wait
from testkit.serving import free_port

# More than one address: a client's ports are counted for each.
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
FILES_MAX = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
CLIENTS_MAX = FILES_MAX - 50  # Redis keeps some for itself
READY_SECONDS = 20
_OF_CLIENTS = ("evalsha", "brpop", "ping")  # what idle nodes send; no script calls them
_NONE = {"calls": 0}
_SLOW_MILLISECONDS = 5


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of a process, in user mode and in the kernel (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_SECONDS


@dataclass(frozen=True)
class OwnRedis:
    """Where it is, and what it has done."""

    port: int
    pid: int
    client: redis.Redis

    @property
    def url(self) -> str:
        """For the settings of a farm."""
        return f"redis://{ADDRESSES[0]}:{self.port}/0"

    def cpu_seconds(self) -> float:
        """Its processor time."""
        return cpu_seconds(self.pid)

    @contextmanager
    def slow_syncs(self) -> Iterator[list[float]]:
        """Milliseconds of its slow writes to the disk, the slowest of each second; complete at the end of the block."""
        found = list[float]()
        client: Any = self.client
        client.config_set("latency-monitor-threshold", _SLOW_MILLISECONDS)
        client.latency_reset()
        yield found
        found += [slowest for _, slowest in client.latency_history("aof-fsync-always")]
        client.config_set("latency-monitor-threshold", 0)

    def counts(self) -> dict[str, float]:
        """Commands of clients, connections, memory and bytes of the append-only file until now."""
        found: Any = self.client.info("everything")
        return {
            "commands": sum(float(found.get(f"cmdstat_{name}", _NONE)["calls"]) for name in _OF_CLIENTS),
            "connections": float(found["connected_clients"]),
            "memory": float(found["used_memory"]),
            "aof_bytes": float(found["aof_current_size"]),
        }


@contextmanager
def own_redis() -> Iterator[OwnRedis]:
    """An empty one, for the length of the block."""
    name, port = f"buildfarm-bench-nodes-{uuid.uuid4().hex[:8]}", free_port()
    image = run("docker", "inspect", "--format={{.Image}}", "buildfarm-redis").strip()
    with tempfile.TemporaryDirectory(prefix="buildfarm-bench-", ignore_cleanup_errors=True) as folder:
        run(
            "docker", "run", "--detach", "--rm", f"--name={name}", "--network=host", "--user=0",
            f"--ulimit=nofile={FILES_MAX}", f"--volume={folder}:/data", "--entrypoint=redis-server", image,
            "--bind", *ADDRESSES, "--port", str(port), "--protected-mode", "no", "--dir", "/data",
            "--maxclients", str(CLIENTS_MAX), "--appendonly", "yes", "--appendfsync", "always", "--save", "",
        )  # fmt: skip
        try:
            pid = int(run("docker", "inspect", "--format={{.State.Pid}}", name))
            with redis.Redis(host=ADDRESSES[0], port=port, decode_responses=True) as client:
                wait(lambda: _answers(client), "Redis does not answer", READY_SECONDS)
                yield OwnRedis(port, pid, client)
        finally:
            run("docker", "rm", "--force", "--volumes", name, check=False)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False

"""A Redis with a replica and three Sentinels, in containers of the farm's own image: its master can be killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import redis

from testkit.cluster.services import LABEL, NETWORK, PASSWORD, Service
from testkit.cluster.shell import run, wait

MASTER = "farm"
DOWN_SECONDS = 5

_REDIS_PORT, _SENTINEL_PORT = 6379, 26379
_SERVERS = {"server-1": "10.173.9.11", "server-2": "10.173.9.12"}
_SENTINELS = {f"sentinel-{number}": f"10.173.9.2{number}" for number in (1, 2, 3)}
_CONFIG = f"""port {_SENTINEL_PORT}
sentinel monitor {MASTER} {_SERVERS["server-1"]} {_REDIS_PORT} 2
sentinel auth-pass {MASTER} {PASSWORD}
sentinel down-after-milliseconds {MASTER} {DOWN_SECONDS * 1000}
sentinel failover-timeout {MASTER} 20000
"""


@dataclass(frozen=True)
class Group:
    """The first server is the master, until it is killed."""

    @property
    def url(self) -> str:
        """As nodes and tests reach it."""
        hosts = ",".join(f"{address}:{_SENTINEL_PORT}" for address in _SENTINELS.values())
        return f"redis+sentinel://:{PASSWORD}@{hosts}/{MASTER}/0"

    def fail_over(self) -> float:
        """Kills the master; returns after how many seconds the Sentinels name the replica."""
        Service("server-1").kill()
        return wait(lambda: self._master() == _SERVERS["server-2"], "no failover", 60)

    def cut_replica_off(self) -> None:
        """From here on the replica gets no writes: it has a wrong password, and its connection is closed."""
        self.wait_for_replica()
        _server("server-2").config_set("masterauth", "wrong")
        first: Any = _server("server-1")
        first.execute_command("CLIENT", "KILL", "TYPE", "replica")
        wait(lambda: _replicas(first) == [], "the replica is still there", 10)

    def wait_for_replica(self) -> None:
        """Returns when the replica has what was written, and the Sentinels have found one another."""
        first = _server("server-1")

        def there() -> bool:
            offset = first.info("replication")["master_repl_offset"]
            known = _ask("MASTER")
            return _replicas(first) >= [offset] and (known["num-slaves"], known["num-other-sentinels"]) == ("1", "2")

        wait(there, "no replica, or Sentinels that do not find one another", 60)

    def _master(self) -> str:
        with suppress(redis.RedisError):
            return str(_ask("GET-MASTER-ADDR-BY-NAME")[0])
        return ""


@contextmanager
def sentinels() -> Iterator[Group]:
    """A group for the length of the block; `services.clear_away` removes it too."""
    image = run("docker", "inspect", "--format={{.Image}}", "buildfarm-redis").strip()
    first = _SERVERS["server-1"]
    try:
        for role, address in _SERVERS.items():
            of = () if address == first else ("--replicaof", first, str(_REDIS_PORT))
            options = (
                *(
                    "--requirepass",
                    PASSWORD,
                    "--masterauth",
                    PASSWORD,
                    "--appendonly",
                    "yes",
                    "--appendfsync",
                    "always",
                ),
                *("--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0", *of),
            )
            _start(role, address, image, "redis-server", *options)
        for role, address in _SENTINELS.items():
            write = "printf '%s' \"$0\" > /data/sentinel.conf; exec redis-server /data/sentinel.conf --sentinel"
            _start(role, address, image, "sh", "-c", write, _CONFIG)
        group = Group()
        wait(lambda: group._master() == first, "the Sentinels do not answer", 30)
        group.wait_for_replica()
        yield group
    finally:
        for role in (*_SERVERS, *_SENTINELS):
            run("docker", "rm", "--force", "--volumes", Service(role).name, check=False)


def _start(role: str, address: str, image: str, program: str, *arguments: str) -> None:
    run(
        "docker", "run", "--detach", f"--name={Service(role).name}", f"--label={LABEL}", f"--network={NETWORK}",
        f"--ip={address}", "--user=0", "--no-healthcheck", f"--entrypoint={program}", image, *arguments,
    )  # fmt: skip


def _server(role: str) -> redis.Redis:
    return redis.Redis(_SERVERS[role], _REDIS_PORT, password=PASSWORD, socket_timeout=2, decode_responses=True)


def _replicas(server: redis.Redis) -> list[int]:
    """What each replica that is connected has."""
    info: Any = server.info("replication")
    return [info[f"slave{number}"]["offset"] for number in range(info["connected_slaves"])]


def _ask(question: str) -> Any:
    address = _SENTINELS["sentinel-1"]
    sentinel: Any = redis.Redis(address, _SENTINEL_PORT, socket_timeout=2, decode_responses=True)
    answer = sentinel.execute_command("SENTINEL", question, MASTER)
    pairs = isinstance(answer, list) and len(answer) > 2
    return dict(zip(answer[::2], answer[1::2], strict=True)) if pairs else answer

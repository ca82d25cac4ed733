"""The connection to Redis: key names, the scripts, and its failures as StoreError."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from buildfarm.errors import StoreError, StoreFullError
from buildfarm.queue.redis_address import parse_redis
from buildfarm.settings import Settings
from buildfarm.store.failover import MasterConnection, MasterTlsConnection

EVENTS_MAX = 100_000  # entries of the events stream
INDEX_MAX = 100_000  # builds that the list of all remembers
APP_INDEX_MAX = 1000  # and an app's

_TIMEOUT_SECONDS = 5.0
# Scripts also run when Redis is at maxmemory, so that claims, renewals and ends go on. The two that could fill it up
# look at the memory by themselves: submit.lua refuses, append.lua drops lines. Flags need Redis 7.0.
_FLAGS = "#!lua flags=allow-oom\n"
_FAILOVER_CONNECT_SECONDS = 2.0  # a master that is gone is asked for again well before a lease ends
_FAILURES = (redis.ConnectionError, redis.TimeoutError, redis.ResponseError)


@dataclass(frozen=True)
class Database:
    """Redis, with the farm's prefix on every key. Safe to use from several threads."""

    client: redis.Redis
    namespace: str
    address: str  # without its password
    replicas_min: int = 0  # what must survive a failover waits for so many
    replica_wait_seconds: float = 0.0
    _scripts: dict[str, Any] = field(default_factory=dict)

    def key(self, *parts: str) -> str:
        """The full name of a key."""
        return self.namespace + ":".join(parts)

    def run(self, script: str, keys: list[str], *args: str | float) -> Any:
        """Runs ``scripts/<script>.lua`` as one atomic step. Raises StoreError if Redis cannot be reached."""
        if script not in self._scripts:
            self._scripts[script] = self.client.register_script(_FLAGS + _text(script))
        with self.failures():
            return self._scripts[script](keys=keys, args=list(args))

    def run_confirmed(self, script: str, keys: list[str], *args: str | float) -> tuple[Any, bool]:
        """Run a script as `run` does, and wait until enough replicas have its writes; the flag is whether they have."""
        if not self.replicas_min:
            return self.run(script, keys, *args), True
        with self.failures():
            pipeline: Any = self.client.pipeline(transaction=False)  # WAIT counts what its own connection wrote
            pipeline.eval(_FLAGS + _text(script), len(keys), *keys, *args)
            # A request that is repeated writes nothing; this write stands behind the one that it asks about.
            pipeline.set(self.key("confirmed"), 1)
            pipeline.execute_command("WAIT", self.replicas_min, int(self.replica_wait_seconds * 1000))
            answer, _, replicas = pipeline.execute()
        return answer, int(replicas) >= self.replicas_min

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turns what the Redis client raises into one StoreError that says where Redis was looked for."""
        try:
            yield
        except redis.OutOfMemoryError as error:
            raise StoreFullError(f"Redis at {self.address} is out of memory.") from error
        except redis.ReadOnlyError as error:
            raise StoreError(
                f"Redis at {self.address} takes no writes.",
                advice="It is a replica: another may have become its master.",
            ) from error
        except _FAILURES as error:
            raise StoreError(
                f"Redis at {self.address} cannot be reached ({type(error).__name__}).",
                advice="Check that it runs: buildfarm status; or start the farm: buildfarm up.",
            ) from error

    def now(self) -> float:
        """Redis's own time, in seconds since the epoch."""
        with self.failures():
            seconds, micros = self.client.time()
        return float(seconds) + float(micros) / 1e6

    def uptime_seconds(self) -> float:
        """For how long Redis has been running."""
        with self.failures():
            info: Any = self.client.info("server")
        return float(info["uptime_in_seconds"])

    def close(self) -> None:
        """Gives the connections back."""
        self.client.close()


def _text(script: str) -> str:
    """A script, after the one whose functions it says that it uses."""
    text = resources.files(__package__).joinpath("scripts", f"{script}.lua").read_text()
    return "".join(_text(shared) for shared in re.findall(r"^-- with (\w+)$", text, re.MULTILINE)) + text


def open_database(settings: Settings) -> Database:
    """A database for these settings; connects at the first use. Raises RequestError if the URL cannot be read."""
    where = parse_redis(settings.redis_url.get_secret_value(), settings.redis_ca)
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": _TIMEOUT_SECONDS,
        "socket_connect_timeout": _TIMEOUT_SECONDS,
        "health_check_interval": 15,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 3),
        **where.tls_options,
    }
    if where.master:
        options["socket_connect_timeout"] = _FAILOVER_CONNECT_SECONDS
        options["connection_class"] = MasterTlsConnection if where.tls else MasterConnection
        make_sentinel: Any = Sentinel  # it has no annotations
        sentinel = make_sentinel(where.hosts, sentinel_kwargs=where.sentinel_options, ssl=where.tls, **options)
        client = sentinel.master_for(where.master, db=where.database, **where.credentials)
    else:
        client = redis.Redis.from_url(where.url, **options)
    return Database(client, settings.namespace, where.place, settings.replicas_min, settings.replica_wait_seconds)

"""What Redis forgets in a failover: every key of a namespace as it was at an earlier moment."""

from __future__ import annotations

from dataclasses import dataclass

import redis


@dataclass(frozen=True)
class Moment:
    """All keys with their values and how long they live; a whole number of scripts, as a replica has them."""

    keys: dict[str, tuple[bytes, int]]


def remember(database) -> Moment:
    """The namespace as it is now."""
    raw = _raw(database)
    try:
        names = list(raw.scan_iter(f"{database.namespace}*"))
        pipeline = raw.pipeline()
        for name in names:
            pipeline.dump(name)
            pipeline.pttl(name)
        found = pipeline.execute()
    finally:
        raw.close()
    return Moment(dict(zip(names, zip(found[::2], found[1::2], strict=True), strict=True)))


def go_back(database, moment: Moment) -> None:
    """Everything that was written since is lost, and another process of Redis answers."""
    raw = _raw(database)
    try:
        pipeline = raw.pipeline()
        for name in raw.scan_iter(f"{database.namespace}*"):
            pipeline.delete(name)
        for name, (value, lives_ms) in moment.keys.items():
            pipeline.restore(name, max(lives_ms, 0), value)
        pipeline.hset(database.key("swept"), "run_id", "another")
        pipeline.execute()
    finally:
        raw.close()


def _raw(database):
    """The same Redis, values as bytes."""
    options = database.client.connection_pool.connection_kwargs
    return redis.Redis(**{name: options[name] for name in ("host", "port", "db", "password") if name in options})

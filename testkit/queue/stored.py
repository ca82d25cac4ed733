"""All that Redis has of a farm, as text: what must not be in it is searched for there."""

from __future__ import annotations

from typing import Any

from buildfarm.farm import Farm


def all_stored(farm: Farm) -> dict[str, str]:
    """Every key of the farm with its content."""
    client: Any = farm.database.client
    read = {
        "hash": client.hgetall,
        "string": client.get,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": client.smembers,
        "zset": lambda key: client.zrange(key, 0, -1),
        "stream": client.xrange,
    }
    found = {}
    for key in client.scan_iter(f"{farm.settings.namespace}*"):
        kind = client.type(key)
        found[str(key)] = str(read[kind](key)) if kind in read else ""  # "none": it has just expired
    return found

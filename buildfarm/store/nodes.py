"""Build nodes' heartbeats: a key each that expires by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from buildfarm.model import Node
from buildfarm.store.database import Database


@dataclass(frozen=True)
class Nodes:
    """All nodes that gave a sign of life lately. Every method raises StoreError where Redis cannot be reached."""

    database: Database

    def beat(self, node: Node, ttl_seconds: float) -> None:
        """The node is alive, and this is how it is."""
        key = self.database.key("node", node.id)
        fields: dict[Any, Any] = {name: int(value) if isinstance(value, bool) else value for name, value in node}
        with self.database.failures():
            pipeline = self.database.client.pipeline()
            pipeline.hset(key, mapping=fields)
            pipeline.expire(key, int(ttl_seconds))
            pipeline.execute()

    def leave(self, node_id: str) -> None:
        """The node goes away in good order."""
        with self.database.failures():
            self.database.client.delete(self.database.key("node", node_id))

    def all(self) -> list[Node]:
        """The nodes by name."""
        with self.database.failures():
            keys = sorted(self.database.client.scan_iter(self.database.key("node", "*"), count=1000))
            found = [self.database.client.hgetall(key) for key in keys]
        return [Node.model_validate(fields) for fields in found if fields]

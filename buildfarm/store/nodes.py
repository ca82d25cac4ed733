"""Build nodes: their heartbeats, and what is wanted of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from buildfarm.errors import NotFoundError
from buildfarm.node import Node, NodeState
from buildfarm.queue.names import parts_of
from buildfarm.store.database import Database
from buildfarm.telemetry import logger

SILENT_SECONDS = 10.0  # a node that was silent for longer is gone
_FORGOTTEN_SECONDS = 86400
_JSON = {
    "builds": "[]",
    "classes": "[]",
    "builders": "[]",
    "sizes": "{}",
    "room": "null",
}  # fields that are kept so, and what is empty


@dataclass(frozen=True)
class Orders:
    """What the farm asks of a node."""

    drain: bool
    builder: str  # the promoted builder, as repository@digest; empty if none was promoted
    channels: Mapping[str, str] = field(default_factory=dict)  # the bases of the other channels, likewise
    moved: int = 0  # apps that a rollout has put on another base than their channel's
    waiting: frozenset[str] = frozenset()  # sizes of which builds are queued, for a node that serves several


@dataclass(frozen=True)
class Nodes:
    """All nodes of the last day. Every method raises StoreError where Redis cannot be reached."""

    database: Database

    def beat(self, node: Node, serves: str = "") -> Orders:
        """The node is alive, and takes offers of the kinds that it ``serves``; what is wanted of it comes back."""
        key = self.database.key
        offers = {"free": node.free, "serves": serves}
        fields: dict[str, Any] = node.model_dump(exclude={"seen_at"})
        fields |= {**{name: json.dumps(fields[name]) for name in _JSON}, **offers}
        arguments = [str(part) for pair in fields.items() for part in pair]
        keys = [key("node", node.id), key("nodes"), key("draining"), key("promoted"), key("channels"), key("app-bases")]
        kinds = node.classes if len(node.sizes) > 1 else ()
        keys += [key("class", kind) for kind in kinds]
        answer = self.database.run("beat", keys, node.id, _FORGOTTEN_SECONDS, *arguments)
        drain, builder, channels, moved, queued = answer
        waiting = frozenset(parts_of(kind)[1] for kind, count in zip(kinds, queued, strict=True) if count)
        return Orders(bool(drain), str(builder), dict(zip(channels[::2], channels[1::2], strict=True)), moved, waiting)

    def leave(self, node_id: str) -> None:
        """The node goes away in good order: no order to drain outlives it."""
        with self.database.failures():
            pipeline = self.database.client.pipeline()
            pipeline.delete(self.database.key("node", node_id))
            pipeline.zrem(self.database.key("nodes"), node_id)
            pipeline.srem(self.database.key("draining"), node_id)
            pipeline.execute()

    def all(self) -> list[Node]:
        """The nodes by name, those that went silent marked as gone."""
        self.mark_gone()
        with self.database.failures():
            ids: Any = self.database.client.zrange(self.database.key("nodes"), 0, -1)
            pipeline = self.database.client.pipeline(transaction=False)
            for node_id in sorted(ids):
                pipeline.hgetall(self.database.key("node", node_id))
            found = pipeline.execute()
        return [node for fields in found if fields and (node := _readable(fields))]

    def mark_gone(self) -> list[str]:
        """Marks nodes that went silent; returns those that were not marked before."""
        key = self.database.key
        keys = [key("nodes"), key("draining")]
        return list(self.database.run("silent", keys, SILENT_SECONDS, key("node", ""), _FORGOTTEN_SECONDS))

    def drain(self, node_id: str) -> None:
        """Asks a node to drain, as SIGTERM does; it reacts within seconds. Raises NotFoundError."""
        if not any(node.id == node_id and node.state is not NodeState.GONE for node in self.all()):
            raise NotFoundError(f"There is no living node {node_id[:80]}.", advice="buildfarm nodes lists them.")
        with self.database.failures():
            self.database.client.sadd(self.database.key("draining"), node_id)

    def lead(self, node_id: str, seconds: float, duty: str = "sweeper") -> bool:
        """Whether this node is the one that sweeps, or does another duty, for so many seconds more."""
        return not self.led_by_other_seconds(node_id, seconds, duty)

    def led_by_other_seconds(self, node_id: str, seconds: float, duty: str = "sweeper") -> float:
        """The same as 0, or else for how long the other node's hold lasts unless it renews it."""
        left_ms: int = self.database.run("lead", [self.database.key(duty)], node_id, int(seconds * 1000))
        return left_ms / 1000


def _readable(fields: dict[str, str]) -> Node | None:
    """The node; None for one that a version wrote which this one cannot read, so that it keeps none from the others."""
    try:
        return _decode(fields)
    except ValueError as error:
        logger().warning("node_unreadable", node=fields.get("id", ""), reason=str(error)[:200])
        return None


def _decode(fields: dict[str, str]) -> Node:
    # A node of another version may send more fields than this one reads.
    known = {name: value for name, value in fields.items() if name in Node.model_fields}
    read = {name: json.loads(fields.get(name, empty)) for name, empty in _JSON.items()}
    return Node.model_validate({**known, **read})

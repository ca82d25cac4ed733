"""Why a build waits: as a word for programs and a sentence for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from buildfarm.model import Build, State
from buildfarm.queue.names import STANDARD, kind_of, parts_of, size_of

if TYPE_CHECKING:
    from buildfarm.node import Node


class Cause(StrEnum):
    """What a waiting build waits for."""

    NODE = "node"  # no node takes builds of its class
    APP_LIMIT = "app_limit"  # earlier builds of the app are queued or running
    TENANT_LIMIT = "tenant_limit"  # as many builds of the tenant are queued or running as may be at once
    TURN = "turn"  # other builds of the tenant are queued before it
    RETRY = "retry"  # the pause after an attempt that the farm failed
    BASE = "base"  # no node has the base yet that it is to stand on
    SLOT = "slot"  # all slots of the nodes for its class are busy
    NOTHING = "nothing"  # a node is about to take it


@dataclass(frozen=True)
class Standing:
    """What the store has of a waiting build's tenant and app: queued and running builds, and how many there may be."""

    tenant_open: int
    tenant_limit: int
    app_open: int
    app_limit: int
    earlier: str = ""  # an open build that publishes the same thing
    retry_seconds: float = 0.0  # until the next attempt may begin
    lacks: str = ""  # a base for it, repository@digest, that a node did not have
    tenant_running: int = 0  # of those that are open


def why_waiting(build: Build, standing: Standing, nodes: Iterable[Node]) -> tuple[Cause, str]:
    """What a waiting build waits for, and a sentence that says so."""
    size = size_of(build.request)
    kind = kind_of(build.build_class, size)
    named = f"class {build.build_class}" + (f" and the size {size}" if size != STANDARD else "")
    accepting = [node for node in nodes if node.accepting and _serves(node, kind)]
    if not accepting:
        return Cause.NODE, f"No build node takes builds of the {named} now."
    if build.state is State.HELD:
        return _why_held(standing)
    if build.attempt and standing.retry_seconds > 0:  # a build that is offered to a node waits there too, for a moment
        seconds = max(standing.retry_seconds, 1)
        return Cause.RETRY, f"Its last attempt failed by the farm's fault; the next one may begin in {seconds:.0f} s."
    if standing.lacks and not any(node.has(standing.lacks) for node in accepting):
        return Cause.BASE, f"No build node has its base {standing.lacks} yet: they are pulling it."
    if not any(node.has_room(size) for node in accepting):
        # How many there are is not for tenants.
        return Cause.SLOT, f"All slots for builds of the {named} are busy."
    return Cause.NOTHING, "A slot is free: a node is about to take it."


def _why_held(standing: Standing) -> tuple[Cause, str]:
    if standing.app_open >= standing.app_limit:
        if standing.app_limit == 1 and standing.earlier:
            return Cause.APP_LIMIT, f"An earlier build of the app has not ended: {standing.earlier}."
        return Cause.APP_LIMIT, _at_limit("app", standing.app_open, standing.app_limit)
    if standing.tenant_open >= standing.tenant_limit:
        return Cause.TENANT_LIMIT, _at_limit("tenant", standing.tenant_open, standing.tenant_limit)
    return Cause.TURN, "Other builds of the tenant are queued before it."


def _at_limit(whose: str, count: int, limit: int) -> str:
    return f"The {whose} has {count} queued or running build{'' if count == 1 else 's'}; its limit is {limit}."


def _serves(node: Node, kind: str) -> bool:
    """A node of an older version does not say what it serves."""
    return kind in node.classes if node.classes else parts_of(kind)[1] == STANDARD

"""How the queue stands: limits, positions, and a row for each class and tenant."""

from __future__ import annotations

from buildfarm.fields import Frozen


class Limits(Frozen):
    """What a tenant may have at once, and each of its apps."""

    tenant_running: int  # builds that run or are about to
    tenant_waiting: int  # builds that wait; beyond it submit is refused
    app_running: int
    tenant_bytes: int = 0  # in the registry; beyond it uploads and submits are refused; 0: no limit
    sizes: tuple[str, ...] = ("standard",)  # that its builds may have


class QueuePosition(Frozen):
    """Where a waiting build stands."""

    position: int  # worst-case position in its class, if no new tenant arrives
    wait_seconds: float | None  # expected until it starts; None if no build of its class started lately
    cause: str = ""  # what it waits for; see `buildfarm.queue.why.Cause`
    why: str = ""  # the same in a sentence


class QueueRow(Frozen):
    """How a class of builds of one size stands, or one tenant's part of it."""

    build_class: str
    size: str = "standard"
    tenant: str = ""  # empty: all tenants
    held: int
    queued: int
    running: int
    oldest_seconds: float | None  # for how long the oldest one waits
    started: int  # in the last minutes
    share: float = 0.0  # of all starts in the last minutes; a tenant's: of all of its class


class QueueView(Frozen):
    """The whole queue: a row for each class and size, and those of the tenants with the oldest builds."""

    minutes: int  # what `started` and `share` look back to
    classes: tuple[QueueRow, ...]
    tenants: tuple[QueueRow, ...]

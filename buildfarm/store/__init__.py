"""The builds' records in Redis: the truth about every build. One subject a module, one atomic step a Lua script."""

from typing import TYPE_CHECKING

from buildfarm import lazy_names
from buildfarm.store.admission import LIMIT_MAX, Admission
from buildfarm.store.admission_policy import AdmissionPolicy
from buildfarm.store.database import Database, open_database
from buildfarm.store.events import Events
from buildfarm.store.logs import LogBounds, Logs
from buildfarm.store.pages import Pages
from buildfarm.store.records import Accepted, CachedResult, Full, OnlyIf, Records

if TYPE_CHECKING:
    from buildfarm.store.buildpack_order import BuildpackOrder
    from buildfarm.store.known_layers import KnownLayer, KnownLayers, ScannedLayers
    from buildfarm.store.leases import UNREADABLE, Lease, Leases, Unclaimed
    from buildfarm.store.nodes import Nodes
    from buildfarm.store.tags import Tags
    from buildfarm.store.wakeups import Wakeups
else:  # for nodes, and for few of the users' calls
    __getattr__ = lazy_names(
        __name__,
        {
            "BuildpackOrder": "buildpack_order",
            "KnownLayer": "known_layers",
            "KnownLayers": "known_layers",
            "ScannedLayers": "known_layers",
            "UNREADABLE": "leases",
            "Lease": "leases",
            "Leases": "leases",
            "Unclaimed": "leases",
            "Nodes": "nodes",
            "Tags": "tags",
            "Wakeups": "wakeups",
        },
    )

__all__ = [
    "LIMIT_MAX",
    "UNREADABLE",
    "Accepted",
    "Admission",
    "AdmissionPolicy",
    "BuildpackOrder",
    "CachedResult",
    "Database",
    "Events",
    "Full",
    "KnownLayer",
    "KnownLayers",
    "Lease",
    "Leases",
    "LogBounds",
    "Logs",
    "Nodes",
    "OnlyIf",
    "Pages",
    "Records",
    "ScannedLayers",
    "Tags",
    "Unclaimed",
    "Wakeups",
    "open_database",
]

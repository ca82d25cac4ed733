"""The builds' records in Redis: the truth about every build. One subject a module, one atomic step a Lua script."""

from buildfarm.store.admission import LIMIT_MAX, Admission
from buildfarm.store.admission_policy import AdmissionPolicy
from buildfarm.store.buildpack_order import BuildpackOrder
from buildfarm.store.database import Database, open_database
from buildfarm.store.events import Events
from buildfarm.store.known_layers import KnownLayer, KnownLayers, ScannedLayers
from buildfarm.store.leases import UNREADABLE, Lease, Leases, Unclaimed
from buildfarm.store.logs import LogBounds, Logs
from buildfarm.store.nodes import Nodes
from buildfarm.store.pages import Pages
from buildfarm.store.records import Accepted, CachedResult, Full, Records
from buildfarm.store.tags import Tags
from buildfarm.store.wakeups import Wakeups

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
    "Pages",
    "Records",
    "ScannedLayers",
    "Tags",
    "Unclaimed",
    "Wakeups",
    "open_database",
]

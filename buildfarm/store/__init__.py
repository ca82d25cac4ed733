"""The builds' records in Redis: the truth about every build. One subject a module, one atomic step a Lua script."""

from buildfarm.store.admission import LIMIT_MAX, Admission, Terms
from buildfarm.store.audit import Audit, AuditEntry
from buildfarm.store.calls import Calls
from buildfarm.store.database import Database, open_database
from buildfarm.store.events import Events
from buildfarm.store.layers import KnownLayer, KnownLayers
from buildfarm.store.leases import UNREADABLE, Lease, Leases, Unclaimed
from buildfarm.store.logs import LogBounds, Logs
from buildfarm.store.nodes import Nodes
from buildfarm.store.order import BuildpackOrder
from buildfarm.store.pages import Pages
from buildfarm.store.rates import Rates
from buildfarm.store.records import Accepted, Full, Memo, Records
from buildfarm.store.tags import Tags
from buildfarm.store.tokens import Scope, Token, Tokens

__all__ = [
    "LIMIT_MAX",
    "UNREADABLE",
    "Accepted",
    "Admission",
    "Audit",
    "AuditEntry",
    "BuildpackOrder",
    "Calls",
    "Database",
    "Events",
    "Full",
    "KnownLayer",
    "KnownLayers",
    "Lease",
    "Leases",
    "LogBounds",
    "Logs",
    "Memo",
    "Nodes",
    "Pages",
    "Rates",
    "Records",
    "Scope",
    "Tags",
    "Terms",
    "Token",
    "Tokens",
    "Unclaimed",
    "open_database",
]

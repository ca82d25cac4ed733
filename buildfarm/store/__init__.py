"""The builds' records in Redis: the truth about every build. One subject a module, one atomic step a Lua script."""

from buildfarm.store.database import Database, open_database
from buildfarm.store.layers import KnownLayer, KnownLayers
from buildfarm.store.leases import Lease, Leases
from buildfarm.store.logs import Logs
from buildfarm.store.nodes import Nodes
from buildfarm.store.records import Records

__all__ = ["Database", "KnownLayer", "KnownLayers", "Lease", "Leases", "Logs", "Nodes", "Records", "open_database"]

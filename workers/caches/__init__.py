"""Build caches on a node: their archives from the registry, copies of these, and snapshots that builds stand on."""

from __future__ import annotations

from workers.caches.caches import TAG, Caches, Restored
from workers.caches.copies import Copies
from workers.caches.snapshots import Snapshots, remove_snapshots

__all__ = ["TAG", "Caches", "Copies", "Restored", "Snapshots", "remove_snapshots"]

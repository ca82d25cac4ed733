"""The channel of rollouts. So far a rollout moves the apps that follow `stable`."""

from __future__ import annotations

from collections.abc import Collection

from buildfarm.model import STABLE
from buildfarm.oci.registry import Registry
from buildfarm.releases.builder import move_channel
from buildfarm.releases.channels.pointers import Pointers
from buildfarm.store.database import Database


def follow_channel(registry: Registry, database: Database, bases: Collection[str]) -> None:
    """If the record says that the channel is on one of these, the tag that images name follows. RegistryError."""
    if (base := Pointers(database).get(STABLE)) and base in bases:
        move_channel(registry, base, lambda: Pointers(database).get(STABLE))

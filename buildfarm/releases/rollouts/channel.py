"""The channel of rollouts. So far a rollout moves the apps that follow `stable`."""

from __future__ import annotations

from buildfarm.model import STABLE
from buildfarm.oci.registry import Registry
from buildfarm.releases.builder import move_channel
from buildfarm.releases.channels.pointers import Pointers
from buildfarm.store.database import Database


def follow_channel(registry: Registry, database: Database, base: str) -> None:
    """The record says that the channel is on ``base``: the tag by which images name it follows. RegistryError."""
    move_channel(registry, base, lambda: Pointers(database).get(STABLE))

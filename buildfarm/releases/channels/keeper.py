"""Changes of channels: what may become one's base, and the tag in the registry that follows the record."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildfarm.errors import RequestError
from buildfarm.fields import NAME_PATTERN
from buildfarm.model import LATEST, STABLE
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.releases.builder import check_builder, move_channel
from buildfarm.releases.channels.app_bases import AppBases
from buildfarm.releases.channels.pointers import Pointers, unknown
from buildfarm.releases.models import Channel, ChannelHistory
from buildfarm.releases.signing.known_bases import KnownBases

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry
    from buildfarm.store.database import Database

REASON_MAX = 500


@dataclass(frozen=True)
class Channels:
    """The farm's channels. Every method raises StoreError if Redis cannot be reached."""

    database: Database
    builder: str  # the base of stable as long as none was promoted

    @property
    def pointers(self) -> Pointers:
        """Where they point."""
        return Pointers(self.database)

    def all(self) -> list[Channel]:
        """By name, stable first."""
        found = self._pointed()
        return [self._channel(name, found[name]) for name in sorted(found, key=lambda name: (name != STABLE, name))]

    def show(self, name: str) -> ChannelHistory:
        """A channel and its newest changes. Raises NotFoundError."""
        base = self.pointers.get(name) or self._default().get(name, "")
        if not base:
            raise unknown(name)
        changes = self.pointers.history(name)
        return ChannelHistory(**dict(self._channel(name, base)), changes=changes)

    def point(self, registry: Registry, name: str, reference: str, *, actor: str, reason: str = "") -> str:
        """Points a channel to a base, as repository@digest; its tag follows. Raises RequestError and RegistryError."""
        base = self.checked(registry, name, reference, reason)
        self.move(registry, name, base, actor=actor, reason=reason)
        return base

    def checked(self, registry: Registry, name: str, reference: str, reason: str = "") -> str:
        """What `point` would point the channel to; nothing is changed. Raises as it does."""
        check_name(name)
        check_reason(reason)
        base = check_builder(registry, reference)
        history = self.pointers.history(name)
        if name != STABLE:
            _check_tag(registry, name, base, {change.base.partition("@")[2] for change in history})
        return base

    def move(self, registry: Registry, name: str, base: str, *, actor: str, reason: str = "") -> None:
        """Points a channel to a base that was `checked`, also where RegistryError or UnconfirmedError is raised."""
        KnownBases(self.database).add(self.builder)  # chosen in the settings: builds on it may still run
        self.pointers.set(name, base, actor=actor, reason=reason)
        move_channel(registry, base, lambda: self.pointers.get(name), tag=name)

    def remove(self, name: str, *, actor: str, reason: str = "") -> str:
        """Forgets a channel, and returns its base; the tag stays.

        Raises NotFoundError, RequestError if it is stable, and ConflictError if apps follow it.
        """
        check_reason(reason)
        if name == STABLE:
            raise RequestError(
                f"The channel {STABLE} cannot be removed: every app that chooses no other follows it.",
                advice=f"Point it to another base: buildfarm channels set {STABLE} BASE",
            )
        return self.pointers.remove(name, actor=actor, reason=reason)

    def named(self) -> set[str]:
        """Every base that builds may stand on now, which no collection and no node may remove."""
        return {*self._pointed().values(), *AppBases(self.database).moved()}

    def _pointed(self) -> dict[str, str]:
        return {**self._default(), **self.pointers.all()}

    def _default(self) -> dict[str, str]:
        return {STABLE: self.builder} if self.builder else {}

    def _channel(self, name: str, base: str) -> Channel:
        # An older version of the farm, or the settings, may have set it, and neither says who did.
        newest = next(iter(self.pointers.history(name)), None)
        if newest is None or newest.base != base:
            return Channel(name=name, base=base)
        return Channel(name=name, base=base, actor=newest.actor, reason=newest.reason, at=newest.at)


def check_name(name: str) -> None:
    """Raises RequestError if no channel can have this name."""
    if not re.fullmatch(NAME_PATTERN, name) or name == LATEST:
        raise RequestError(
            f"{name[:80]!r} cannot be the name of a channel.",
            advice=f"Use up to 30 lower-case letters, digits and dashes, but not {LATEST}.",
        )


def check_reason(reason: str) -> None:
    """Raises RequestError if it is too long or not one line."""
    if len(reason) > REASON_MAX or (reason and not reason.isprintable()):
        raise RequestError(
            "The reason is too long or has control characters.",
            advice=f"Write one line of up to {REASON_MAX} characters.",
        )


def _check_tag(registry: Registry, name: str, base: str, known: Collection[str]) -> None:
    """The tag of a channel belongs to it alone: an image may have been published under it."""
    repository, _, digest = base.partition("@")
    try:
        tagged = registry.get_manifest(repository, name)[2]
    except NotInRegistryError:
        return
    if tagged != digest and tagged not in known:
        raise RequestError(
            f"The repository {repository} has another image under the tag {name}, which the channel would take over.",
            advice="Choose another name for the channel.",
        )

"""Which base an app's builds stand on: one that a rollout has put it on, or else its channel's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from buildfarm.errors import RequestError, UnconfirmedError
from buildfarm.model import IMAGES, STABLE
from buildfarm.releases.channels.pointers import unknown
from buildfarm.store.database import Database


@dataclass(frozen=True)
class AppBase:
    """What an app's next build stands on."""

    channel: str
    channel_base: str  # repository@digest
    chosen: str = ""  # likewise, by a rollout; it goes before the channel's

    @property
    def base(self) -> str:
        """The one that counts."""
        return self.chosen or self.channel_base


@dataclass(frozen=True)
class AppBases:
    """Every method raises StoreError if Redis cannot be reached."""

    database: Database
    builder: str = ""  # the base of the channel stable as long as none was promoted

    def of(self, tenant: str, app: str) -> AppBase:
        """An app's base; empty if the farm has none yet."""
        channel, base, chosen = self.database.run("base_of", [self.database.namespace], f"{tenant}/{app}")
        return AppBase(str(channel), str(base) or (self.builder if channel == STABLE else ""), str(chosen))

    def follow(self, tenant: str, app: str, channel: str) -> None:
        """From its next build on, the app stands on this channel's base.

        Raises NotFoundError, RequestError for the farm's own images, and UnconfirmedError if too few replicas of Redis
        have it.
        """
        if tenant == IMAGES:
            raise RequestError(
                "The farm's own images follow no channel.", advice="Name an app: they stand on no builder."
            )
        known, confirmed = self.database.run_confirmed(
            "app_channel", [self.database.namespace], f"{tenant}/{app}", channel
        )
        if not known:
            raise unknown(channel)
        if not confirmed:
            raise UnconfirmedError(
                f"The channel of {tenant}/{app} was changed, but too few replicas of Redis had it in time.",
                advice=f"Look at it in a minute: buildfarm apps channel {tenant}/{app}",
            )

    def followed(self) -> dict[str, str]:
        """The channels of the apps that have chosen one, by tenant/app."""
        with self.database.failures():
            found: Any = self.database.client.hgetall(self.database.key("app-channels"))
        return dict(found)

    def moved(self) -> set[str]:
        """The bases that rollouts have put apps on."""
        found: Any = self.database.run("moved_bases", [self.database.key("app-bases")])
        return set(found)

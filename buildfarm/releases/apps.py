"""What users do with apps' images and their bases beside builds. Part of `Farm`."""

from __future__ import annotations

import getpass
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

from buildfarm import LazyModule
from buildfarm.errors import RequestError
from buildfarm.model import STABLE
from buildfarm.oci.digest import Digest
from buildfarm.releases.models import AppChannel, AppImage, Channel, ChannelHistory, Rebase
from buildfarm.releases.rollouts.fleet import Fleet

if TYPE_CHECKING:
    from buildfarm.model import Build
    from buildfarm.releases import base as bases
    from buildfarm.releases import builder as builders
    from buildfarm.releases import rebase as rebasing
    from buildfarm.releases import shelf
    from buildfarm.releases.channels import app_bases, keeper, pointers
    from buildfarm.releases.facts import check, store
    from buildfarm.releases.facts.components import inventory as inventories
    from buildfarm.releases.facts.components.models import Contents, Places
    from buildfarm.releases.signing import known_bases, public_keys
    from buildfarm.settings import Settings
    from buildfarm.store import Database
else:  # most calls of most programs need none of it
    builders = LazyModule("buildfarm.releases.builder")
    bases = LazyModule("buildfarm.releases.base")
    rebasing = LazyModule("buildfarm.releases.rebase")
    shelf = LazyModule("buildfarm.releases.shelf")
    app_bases = LazyModule("buildfarm.releases.channels.app_bases")
    keeper = LazyModule("buildfarm.releases.channels.keeper")
    pointers = LazyModule("buildfarm.releases.channels.pointers")
    check = LazyModule("buildfarm.releases.facts.check")
    store = LazyModule("buildfarm.releases.facts.store")
    inventories = LazyModule("buildfarm.releases.facts.components.inventory")
    known_bases = LazyModule("buildfarm.releases.signing.known_bases")
    public_keys = LazyModule("buildfarm.releases.signing.public_keys")


class Apps(Fleet):
    """These methods of the farm; all raise StoreError and RegistryError, and NotFoundError if the app has no image."""

    settings: Settings
    database: Database

    @abstractmethod
    def get(self, build_id: str) -> Build:
        """A build."""

    @property
    def inventory(self) -> inventories.Inventory:
        """What is in images."""
        return inventories.Inventory(self.quick_registry, self.records, self.get, self.settings)

    def sbom(self, image: str, *, form: str = "cyclonedx", with_base: bool = False) -> bytes:
        """An image's bill of materials, ``form`` being cyclonedx (1.6) or spdx (2.3), both as JSON.

        ``image`` is tenant/app, tenant/app@digest, the id of a build, or repository:tag of a base. Raises RequestError
        if nodes read no layers, and NotReadYetError if they are still to read some.
        """
        return self.inventory.sbom(image, form, with_base=with_base)

    def contents(self, image: str, *, with_base: bool = False) -> Contents:
        """An image's components. See `sbom`."""
        return self.inventory.contents(image, with_base=with_base)

    def where(self, expression: str, *, limit: int = 1000) -> Places:
        """Which apps' newest images have a component, such as npm/lodash@<4.17.21. Raises RequestError."""
        return self.inventory.where(expression, tenant=None, limit=limit)

    @property
    def app_bases(self) -> app_bases.AppBases:
        """What each app's builds stand on."""
        return app_bases.AppBases(self.database, self.settings.builder)

    @property
    def channel_keeper(self) -> keeper.Channels:
        """The channels, for changes in the name of somebody else than this process's user."""
        return keeper.Channels(self.database, self.settings.builder)

    def signing_keys(self) -> tuple[str, ...]:
        """The public keys of the farm's signer, in PEM form; none if it never ran."""
        return public_keys.SigningKeys(self.database).all()

    def builder(self) -> str:
        """The base of the channel stable, as repository@digest; empty if the farm has none yet."""
        return pointers.Pointers(self.database).get(STABLE) or self.settings.builder

    def promote_builder(self, reference: str) -> str:
        """Makes an image of the farm's registry the base of the channel stable; returns it as repository@digest.

        Nodes pull it beside their builds, and each goes on with the old one until it has the new one. Raises
        RequestError if it cannot be a builder, and RegistryError.
        """
        return self.channel_keeper.point(self.registry, STABLE, reference, actor=_user())

    def channels(self) -> list[Channel]:
        """The bases that apps may follow, stable first."""
        return self.channel_keeper.all()

    def channel(self, name: str) -> ChannelHistory:
        """A channel and its newest changes."""
        return self.channel_keeper.show(name)

    def set_channel(self, name: str, base: str, *, reason: str = "") -> str:
        """Points a channel to repository:tag or repository@digest, as `promote_builder` does stable; or makes one."""
        return self.channel_keeper.point(self.registry, name, base, actor=_user(), reason=reason)

    def remove_channel(self, name: str, *, reason: str = "") -> str:
        """Forgets a channel, and returns its base. Raises ConflictError if apps follow it, RequestError for stable."""
        return self.channel_keeper.remove(name, actor=_user(), reason=reason)

    def app_channel(self, tenant: str, app: str) -> AppChannel:
        """The channel that an app follows, and the base of its next build."""
        found = self.app_bases.of(tenant, app)
        return AppChannel(tenant=tenant, app=app, channel=found.channel, base=found.base, by_rollout=bool(found.chosen))

    def set_app_channel(self, tenant: str, app: str, channel: str) -> AppChannel:
        """The app's builds stand on this channel's base from the next one on."""
        self.app_bases.follow(tenant, app, channel)
        return self.app_channel(tenant, app)

    @cached_property
    def facts(self) -> check.FactsCheck | None:
        """What is known of apps' files; None if it does not count."""
        return check.FactsCheck(store.FactsStore(self.database)) if self.settings.layer_facts else None

    def app_image(self, tenant: str, app: str) -> AppImage:
        """The app's newest image, its base, and its newest moves to other bases."""
        rebaser = rebasing.Rebaser(self.quick_registry, self.records, signing=self.settings.signs)
        found = rebaser.newest(tenant, app)
        base = "@".join(found.base).strip("@")
        moves, follows = rebaser.rebases.of(tenant, app), self.app_bases.of(tenant, app)
        return AppImage(
            tenant=tenant,
            app=app,
            image=found.digest,
            base=base,
            release=shelf.release_digest(found.manifest),
            is_current=base == follows.base,
            channel=follows.channel,
            rebases=moves,
            previous=moves[0].previous if moves and moves[0].image == found.digest else "",
            **self._rollouts.place_of(f"{tenant}/{app}"),
        )

    def rebase(self, tenant: str, app: str, *, base: str = "", dry_run: bool = False, older: bool = False) -> Rebase:
        """Moves the app's newest image to its channel's base, or to ``base``, without a build; no layer is sent.

        ``base`` is repository:tag, repository@digest, or a digest in the builder's repository. ``older`` allows one
        that is older than the app's. Raises RequestError if the base is none, NotRebasableError if the app cannot move.
        """
        follows = self.app_bases.of(tenant, app)
        reference = builders.check_builder(self.registry, _wanted(base, follows.channel_base))
        repository, _, digest = reference.partition("@")
        try:
            found = bases.read_base(self.registry, repository, Digest(digest))
        except ValueError as error:
            raise RequestError(f"No app can stand on {reference}: {error}.") from error
        if self.settings.signs and not dry_run:
            known_bases.KnownBases(self.database).add(reference)
        return rebasing.Rebaser(self.registry, self.records, self.facts, signing=self.settings.signs).rebase(
            tenant, app, found, dry_run=dry_run, older=older, channel=follows.channel
        )


def _wanted(base: str, followed: str) -> str:
    """The base that was asked for, or else that of the app's channel."""
    if not base and not followed:
        raise RequestError("The farm has no builder yet.", advice="buildfarm builder promote sets it.")
    return f"{followed.partition('@')[0]}@{base}" if base.startswith("sha256:") else base or followed


def _user() -> str:
    """Who changes something from this machine, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # it has no name here, as in some containers
        return "unknown"

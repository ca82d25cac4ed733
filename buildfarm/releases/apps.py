"""What users do with apps' images beside builds. Part of `Farm`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from buildfarm import LazyModule
from buildfarm.errors import RequestError
from buildfarm.oci.digest import Digest
from buildfarm.releases.models import AppImage, Rebase

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry
    from buildfarm.releases import base as bases
    from buildfarm.releases import builder as builders
    from buildfarm.releases import rebase as rebasing
    from buildfarm.releases import shelf
    from buildfarm.store import Records
else:  # most calls of most programs need none of it
    builders = LazyModule("buildfarm.releases.builder")
    bases = LazyModule("buildfarm.releases.base")
    rebasing = LazyModule("buildfarm.releases.rebase")
    shelf = LazyModule("buildfarm.releases.shelf")


class Apps(ABC):
    """These methods of the farm; all raise StoreError and RegistryError, and NotFoundError if the app has no image."""

    records: Records

    @property
    @abstractmethod
    def registry(self) -> Registry:
        """The farm's registry."""

    @property
    @abstractmethod
    def quick_registry(self) -> Registry:
        """The same one for calls that others wait for."""

    @abstractmethod
    def builder(self) -> str:
        """The base that builds use now."""

    def app_image(self, tenant: str, app: str) -> AppImage:
        """The app's newest image, its base, and its newest moves to other bases."""
        rebaser = rebasing.Rebaser(self.quick_registry, self.records)
        found = rebaser.newest(tenant, app)
        base = "@".join(found.base).strip("@")
        return AppImage(
            tenant=tenant,
            app=app,
            image=found.digest,
            base=base,
            release=shelf.release_digest(found.manifest),
            is_current=base == self.builder(),
            rebases=rebaser.rebases.of(tenant, app),
        )

    def rebase(self, tenant: str, app: str, *, base: str = "", dry_run: bool = False, older: bool = False) -> Rebase:
        """Moves the app's newest image to the promoted builder, or to ``base``, without a build; no layer is sent.

        ``base`` is repository:tag, repository@digest, or a digest in the builder's repository. ``older`` allows one
        that is older than the app's. Raises RequestError if the base is none, NotRebasableError if the app cannot move.
        """
        reference = builders.check_builder(self.registry, self._wanted(base))
        repository, _, digest = reference.partition("@")
        try:
            found = bases.read_base(self.registry, repository, Digest(digest))
        except ValueError as error:
            raise RequestError(f"No app can stand on {reference}: {error}.") from error
        return rebasing.Rebaser(self.registry, self.records).rebase(tenant, app, found, dry_run=dry_run, older=older)

    def _wanted(self, base: str) -> str:
        promoted = self.builder()
        if not base and not promoted:
            raise RequestError("The farm has no builder yet.", advice="buildfarm builder promote sets it.")
        return f"{promoted.partition('@')[0]}@{base}" if base.startswith("sha256:") else base or promoted

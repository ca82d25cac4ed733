"""Puts an app's newest image on another base: two small documents in the registry, and the tag. No layer is read."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buildfarm.errors import NotFoundError, NotRebasableError, RegistryError, StoreError
from buildfarm.oci.connection import MissingBlobError, NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import ComposedImage
from buildfarm.oci.manifest import ImageConfig
from buildfarm.releases.base import Base, read_base
from buildfarm.releases.compose import compose
from buildfarm.releases.facts.check import FactsCheck, Verdict
from buildfarm.releases.models import Rebase
from buildfarm.releases.movable import NewestImage, refusals
from buildfarm.releases.rebases import Moves, Rebases
from buildfarm.releases.shelf import mount_base, read_release
from buildfarm.releases.signing.app_tags import AppTags
from buildfarm.releases.signing.documents import Sent, documents_of
from buildfarm.store import Records, Tags
from buildfarm.telemetry import logger

if TYPE_CHECKING:
    from buildfarm.oci.memory import Documents
    from buildfarm.oci.registry import Registry

_TRIES = 3  # of builds that publish meanwhile


@dataclass(frozen=True)
class Rebaser:
    """Raises StoreError, RegistryError, NotFoundError if the app has no image, and NotRebasableError with a reason."""

    registry: Registry
    records: Records
    facts: FactsCheck | None = None  # None: nothing is known of what apps' files need
    remembered: Documents | None = None  # where apps' documents are read; None: in the registry
    signing: bool = False
    _bases: dict[str, Base] = field(default_factory=dict)  # those that were read, by digest

    @property
    def documents(self) -> Documents:
        """Where apps' manifests, configs and releases are read."""
        return self.remembered or self.registry

    @property
    def rebases(self) -> Rebases:
        """The moves that were made."""
        return Rebases(self.records.database)

    def newest(self, tenant: str, app: str) -> NewestImage:
        """The app's newest image."""
        repository = f"apps/{tenant}/{app}"
        if not (digest := self.records.tag_target(repository)):
            raise NotFoundError(f"The app {tenant}/{app} has no image.", advice="Build it first.")
        try:
            manifest, found = self.documents.read_manifest(repository, digest)
            config = ImageConfig.parse(self.documents.read_blob(repository, manifest.config.digest))
            image = NewestImage(repository, found, manifest, config)
            "@".join(image.base).encode()  # a node wrote it: half a character cannot be kept
        except NotInRegistryError as error:
            raise NotRebasableError(
                f"The registry no longer has the image {digest} of {tenant}/{app}.", advice="Build the app again."
            ) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise NotRebasableError(f"The image {digest} of {tenant}/{app} cannot be read: {error}.") from error
        return image

    def rebase(self, tenant: str, app: str, base: Base, *, dry_run: bool, older: bool, channel: str = "") -> Rebase:
        """Moves the newest image to ``base``; if a build publishes meanwhile, that build's image.

        The image names its base by the ``channel`` that the app follows; without one, by its release's.
        """
        for _ in range(_TRIES):
            image = self.newest(tenant, app)
            planned, composed, sent = self.plan(f"{tenant}/{app}", image, base, older=older, channel=channel)
            if dry_run or not planned.moved:
                return planned.model_copy(update={"moved": False})
            self.push(image, base, composed)
            if self.rebases.move(image.repository, planned) == planned.image:
                self.move_tag(image.repository, sent)
                logger().info("app_rebased", app=f"{tenant}/{app}", image=planned.image, base=planned.base)
                return planned
        raise NotRebasableError(
            f"Builds of {tenant}/{app} publish faster than it can be moved.", advice="Try again when they have ended."
        )

    def plan(
        self, name: str, image: NewestImage, base: Base, *, older: bool, channel: str = "", needs_facts: bool = False
    ) -> tuple[Rebase, ComposedImage, Sent]:
        """The move of a tenant/app, its image on ``base``, and what `move_tag` takes; nothing is written.

        With ``needs_facts``, raises NoFactsError if too little is known of what the app's files need.
        """
        release = read_release(self.documents, image.repository, image.manifest)
        before = self._base_of(image)
        where = f"{image.repository}@{image.digest}"
        verdict = self.facts.look(where, release, before, base) if self.facts else Verdict()
        reasons = [*refusals(image, release, before, base, older=older), *verdict.blockers]
        if reasons:
            # Half characters, which a node can write into a release, cannot be stored or shown.
            why = "; ".join(reasons).encode(errors="backslashreplace").decode()
            raise NotRebasableError(
                f"The app {name} cannot be moved to {base.reference}: {why}.",
                advice="Build the app again: builds use the base of its channel.",
            )
        if needs_facts:
            verdict.refuse(name)
        try:
            composed = compose(release, base, channel)
        except ValueError as error:
            raise NotRebasableError(f"The release of {name} cannot be read: {error}.") from error
        planned = Rebase(
            at=self.records.database.now(),
            image=composed.digest,
            previous=image.digest,
            built=Moves.of([self.rebases.of(*name.split("/"))]).origin(image.digest),
            base=base.reference,
            previous_base="@".join(image.base).strip("@"),
            moved=composed.digest != image.digest,
            unchecked=verdict.missing,
        )
        sent = {str(composed.digest): (composed.media_type, composed.manifest)}
        return planned, composed, documents_of(release, image.manifest, composed) if self.signing else sent

    def _base_of(self, image: NewestImage) -> Base | None:
        repository, digest = image.base
        try:
            return self.base(repository, digest) if digest else None
        except (NotInRegistryError, ValueError):
            return None

    def base(self, repository: str, digest: str) -> Base:
        """An image that apps stand on. Raises RegistryError, and ValueError if no image can."""
        if digest not in self._bases:
            self._bases[digest] = read_base(self.registry, repository, Digest(digest))
        return self._bases[digest]

    def push(self, image: NewestImage, base: Base, composed: ComposedImage) -> None:
        """Sends the image, and mounts the layers of its base; no tag moves."""
        for there in ({layer.digest for layer in image.manifest.layers}, frozenset[Digest]()):
            mount_base(self.registry, image.repository, base, there)
            self.registry.put_blob(image.repository, composed.config, look=False)  # it is new in most cases
            with suppress(MissingBlobError):  # then the base's layers are all asked for
                self.registry.put_manifest(image.repository, composed.manifest, composed.media_type, tag=None)
                return
        raise NotRebasableError(
            f"The registry no longer has all layers of the image {image.digest} of {image.repository}.",
            advice="Build the app again, with --rebuild.",
        )

    def move_tag(self, repository: str, sent: Sent) -> None:
        """As after a build: the record decides. If the registry or Redis fails here, a node moves the tag.

        ``sent`` has media types and documents by digest, which are then not asked for.
        """
        try:
            AppTags(self.registry, self.records, self.signing).move(repository, sent=sent)
        except (RegistryError, StoreError) as error:
            with suppress(StoreError):  # the move itself has marked it already
                Tags(self.records.database).mark(repository)
            logger().warning("tag_not_moved", target=repository, reason=error.message)

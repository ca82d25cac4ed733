"""Bills of materials of images, and queries over all apps, for the farm's users."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildfarm.errors import NotFoundError, NotReadYetError, RequestError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.reference import host_of
from buildfarm.releases.facts.components.cyclonedx import MEDIA_TYPE as CYCLONEDX
from buildfarm.releases.facts.components.cyclonedx import cyclonedx, places_of, unread_of
from buildfarm.releases.facts.components.expression import Expression
from buildfarm.releases.facts.components.image import APPS, ImageReader, Part
from buildfarm.releases.facts.components.models import ComponentView, Contents, Places
from buildfarm.releases.facts.components.spdx import MEDIA_TYPE as SPDX
from buildfarm.releases.facts.components.spdx import spdx
from buildfarm.releases.facts.components.store import ComponentStore
from buildfarm.releases.facts.components.where import Search
from buildfarm.releases.facts.progress import Progress
from buildfarm.releases.facts.store import FAILED_SECONDS
from buildfarm.releases.facts.wanted import Urgency, WantedImages

if TYPE_CHECKING:
    from buildfarm.model import Build
    from buildfarm.oci.registry import Registry
    from buildfarm.settings import Settings
    from buildfarm.store import Database, Records

FORMATS = {"cyclonedx": (CYCLONEDX, cyclonedx), "spdx": (SPDX, spdx)}
_PLACES_MAX = 5
_ADVICE = "Name it as TENANT/APP, TENANT/APP@DIGEST, the id of a build, or REPOSITORY:TAG of a base."
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Inventory:
    """Every method raises StoreError, RegistryError, NotFoundError, and RequestError if nodes read no layers."""

    registry: Registry
    records: Records
    build: Callable[[str], Build]
    settings: Settings

    @property
    def database(self) -> Database:
        """Redis."""
        return self.records.database

    def place(self, image: str, *, tenant: str | None = None) -> tuple[str, str]:
        """Repository and digest of an image that is named as `place_of` describes it, or by the id of its build.

        With a ``tenant`` only images of its apps are found, and nothing else is looked up in the registry.
        """
        if not set("/:@") & set(image):
            build = self.build(image)
            if build.result is None:
                raise NotFoundError(f"The build {image} has no image.", advice=_ADVICE)
            _check_tenant(build.result.repository, tenant)
            return build.result.repository, str(build.result.digest)
        repository, reference = place_of(image, host_of(self.settings.registry_url))
        _check_tenant(repository, tenant)
        if not reference and repository.startswith("apps/"):
            reference = self.records.tag_target(repository) or ""
        if not reference:
            raise NotFoundError(f"{image[:120]} has no image.", advice=_ADVICE)
        if reference.startswith("sha256:"):
            return repository, reference
        try:
            return repository, str(self.registry.read_manifest(repository, reference)[1])
        except (NotInRegistryError, ValueError) as error:  # also an index, or what cannot be a tag
            raise NotFoundError(f"The registry has no image {image[:120]}.", advice=_ADVICE) from error

    def sbom(self, image: str, form: str, *, with_base: bool) -> bytes:
        """An image's bill of materials. Raises NotReadYetError, also if a layer could not be read for now."""
        if form not in FORMATS:
            raise RequestError(f"{form[:40]!r} is not a format.", advice=f"The formats are {' and '.join(FORMATS)}.")
        parts = self._parts(*self.place(image), with_base=with_base)
        if any(part.failed for part in parts):
            error = NotReadYetError(
                f"A layer of {parts[0].reference} could not be read.",
                advice="Nodes try again within an hour. Until then /v1/components has what is known of it.",
            )
            error.retry_after_seconds = FAILED_SECONDS
            raise error
        return FORMATS[form][1](parts)

    def contents(self, image: str, *, with_base: bool) -> Contents:
        """An image's components. Raises NotReadYetError."""
        parts = self._parts(*self.place(image), with_base=with_base)
        base = parts[1].reference if parts[1:] else ""
        views = tuple(view for number, part in enumerate(parts) for view in _views(part, in_base=number > 0))
        return Contents(image=parts[0].reference, base=base, components=views, unread=tuple(unread_of(parts)))

    def where(self, expression: str, *, tenant: str | None, limit: int) -> Places:
        """Which apps have such a component in their newest images. See `Expression`."""
        self._check()
        return Search(ComponentStore(self.database), Expression.parse(expression)).places(tenant, limit)

    def _parts(self, repository: str, digest: str, *, with_base: bool) -> Sequence[Part]:
        self._check()
        is_newest = not repository.startswith(APPS) or self.records.tag_target(repository) == digest
        reader = ImageReader(
            self.registry, ComponentStore(self.database), WantedImages(self.database),
            Urgency.APP if is_newest else Urgency.LATER,
        )  # fmt: skip
        image, base = reader.read(repository, digest)
        parts = [image, *([base] if base and with_base else [])]
        if any(part.pending for part in parts):
            why = Progress(self.database).why_stopped()
            raise NotReadYetError(
                f"The files of {parts[0].reference} have not been read yet{f': {why}' if why else ''}.",
                advice="A node reads them within minutes if one is free: buildfarm nodes lists them.",
            )
        return parts

    def _check(self) -> None:
        if not self.settings.layer_facts:
            raise RequestError(
                "This farm does not read what is in images.",
                advice="Its operators turn it on: BUILDFARM_LAYER_FACTS=true.",
            )


def _check_tenant(repository: str, tenant: str | None) -> None:
    if tenant is not None and not repository.startswith(f"apps/{tenant}/"):
        raise NotFoundError(f"The tenant {tenant} has no such image.", advice=_ADVICE)


def place_of(image: str, host: str) -> tuple[str, str]:
    """Repository and digest or tag that a text names; the second is empty for an app's newest image.

    Raises NotFoundError if it names nothing.
    """
    text = image.removeprefix(f"{host}/")
    repository, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise NotFoundError(f"{image[:120]!r} does not name an image.", advice=_ADVICE)
    tag = ""
    if not at:
        repository, _, tag = text.partition(":")
    if not re.fullmatch(r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*", repository):
        raise NotFoundError(f"{image[:120]!r} does not name an image.", advice=_ADVICE)
    is_app = repository.count("/") == 1 and not repository.startswith("apps/") and not tag
    return f"apps/{repository}" if is_app else repository, digest or tag


def _views(part: Part, *, in_base: bool) -> Iterator[ComponentView]:
    for component, places in places_of(part).items():
        name, version = component.source
        yield ComponentView(
            kind=component.kind, name=component.name, version=component.version, purl=component.purl(part.distribution),
            licence=component.licence, source=f"{name}@{version}" if component.kind == "deb" else "", in_base=in_base,
            places=tuple(places[:_PLACES_MAX]),
        )  # fmt: skip

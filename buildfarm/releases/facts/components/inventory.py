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
from buildfarm.releases.facts.components.image import ImageReader, Part
from buildfarm.releases.facts.components.models import ComponentView, Contents, Places
from buildfarm.releases.facts.components.spdx import MEDIA_TYPE as SPDX
from buildfarm.releases.facts.components.spdx import spdx
from buildfarm.releases.facts.components.store import ComponentStore
from buildfarm.releases.facts.components.where import Search
from buildfarm.releases.facts.wanted import WantedImages

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

    def place(self, image: str) -> tuple[str, str]:
        """Repository and digest of an image that is named as `place_of` describes it, or by the id of its build."""
        if not set("/:@") & set(image):
            build = self.build(image)
            if build.result is None:
                raise NotFoundError(f"The build {image} has no image.", advice=_ADVICE)
            return build.result.repository, str(build.result.digest)
        repository, reference = place_of(image, host_of(self.settings.registry_url))
        if not reference and repository.startswith("apps/"):
            reference = self.records.tag_target(repository) or ""
        if not reference:
            raise NotFoundError(f"{image[:120]} has no image.", advice=_ADVICE)
        if reference.startswith("sha256:"):
            return repository, reference
        try:
            return repository, str(self.registry.read_manifest(repository, reference)[1])
        except NotInRegistryError as error:
            raise NotFoundError(f"The registry has no image {image[:120]}.", advice=_ADVICE) from error

    def sbom(self, image: str, form: str, *, with_base: bool) -> bytes:
        """An image's bill of materials. Raises NotReadYetError."""
        if form not in FORMATS:
            raise RequestError(f"{form[:40]!r} is not a format.", advice=f"The formats are {' and '.join(FORMATS)}.")
        return FORMATS[form][1](self._parts(*self.place(image), with_base=with_base))

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
        reader = ImageReader(self.registry, ComponentStore(self.database), WantedImages(self.database))
        image, base = reader.read(repository, digest)
        parts = [image, *([base] if base and with_base else [])]
        if any(part.pending for part in parts):
            raise NotReadYetError(f"The files of {parts[0].reference} have not been read yet.")
        return parts

    def _check(self) -> None:
        if not self.settings.layer_facts:
            raise RequestError(
                "This farm does not read what is in images.",
                advice="Its operators turn it on: BUILDFARM_LAYER_FACTS=true.",
            )


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

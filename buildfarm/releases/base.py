"""An image that apps stand on, as the registry describes it, and which apps may be put on it instead of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from buildfarm import model
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import CREATED
from buildfarm.oci.manifest import ImageConfig, Manifest, layer_compression

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry

# The farm's own images, and those of other tools that are made alike everywhere, have this date or an earlier one.
_NO_DATE = datetime.fromisoformat(CREATED)

STABLE = model.STABLE  # the channel of the promoted builder, and the tag by which images name it

# By these names a release keeps them. Each must be equal, but for those that one of the two images does not have.
_LABELS = {
    "stack": "io.buildpacks.stack.id",
    "distribution": "io.buildpacks.base.distro.name",
    "distribution_version": "io.buildpacks.base.distro.version",
    "platform": "buildfarm.platform",
}
_FIELDS = {"architecture": "architecture", "os": "os", "variant": "variant"}
_OPTIONAL = frozenset({"variant", "distribution", "distribution_version"})


@dataclass(frozen=True)
class Base:
    """A builder image of the farm's registry."""

    repository: str
    digest: Digest
    manifest: Manifest
    content: bytes  # its config, as the registry has it

    @cached_property
    def config(self) -> ImageConfig:
        """Raises ValueError if it is not the config of an image with these layers."""
        found = ImageConfig.parse(self.content)
        if len(found.diff_ids) != len(self.manifest.layers) or not found.diff_ids:
            raise ValueError(f"its config names {len(found.diff_ids)} layers, its manifest {len(self.manifest.layers)}")
        return found

    def check(self) -> None:
        """Raises ValueError if no image can stand on it."""
        for layer in self.manifest.layers:
            layer_compression(layer.media_type)
        _ = self.config

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of its config."""
        return self.config.runtime.get("Labels") or {}

    @property
    def variables(self) -> list[str]:
        """Its environment, as its config has it."""
        return list(self.config.runtime.get("Env") or ())

    @property
    def reference(self) -> str:
        """Repository and digest, without the registry's host."""
        return f"{self.repository}@{self.digest}"

    @property
    def created(self) -> str:
        """When it was made, as its config says (RFC 3339); empty if it does not."""
        return str(self.config.raw.get("created") or "")

    @property
    def made_at(self) -> datetime | None:
        """The same as a time; None if it is not known, as of images that are made alike at any time."""
        try:
            found = datetime.fromisoformat(self.created)
        except ValueError:
            return None
        return found if found.tzinfo and found > _NO_DATE else None

    @cached_property
    def stack(self) -> dict[str, str]:
        """What an app's layers were built for; an app moves only to a base where this is the same."""
        raw: Mapping[str, Any] = self.config.raw
        found = {name: str(raw.get(key) or "") for name, key in _FIELDS.items()}
        found |= {name: self.labels.get(key, "") for name, key in _LABELS.items()}
        return {name: value for name, value in found.items() if value}


def read_base(registry: Registry, repository: str, reference: str) -> Base:
    """The image under this tag or digest. Raises RegistryError, and ValueError if no image can stand on it."""
    manifest, digest = registry.read_manifest(repository, reference)
    base = Base(repository, digest, manifest, registry.read_blob(repository, manifest.config.digest))
    base.check()
    return base


def differences(built_for: Mapping[str, str], stack: Mapping[str, str]) -> Iterator[str]:
    """How another base's stack differs from the one that an app was built for, a phrase for each."""
    for name in sorted({*built_for, *stack}):
        before, after = built_for.get(name, ""), stack.get(name, "")
        if before != after and not (name in _OPTIONAL and "" in (before, after)):
            yield f"its {name.replace('_', ' ')} is {after or 'not set'}, not {before or 'unset'}"

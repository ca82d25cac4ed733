"""Whether an app's image may be put on another base without a build. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import ImageConfig, Manifest
from buildfarm.releases.base import Base, differences
from buildfarm.releases.labels import BASE_DIGEST, BASE_NAME, REBASABLE_LABEL
from buildfarm.releases.release import Release

LAYERS_MAX = 127  # of an image that engines can mount


@dataclass(frozen=True)
class NewestImage:
    """An app's newest image, as the registry has it."""

    repository: str
    digest: Digest
    manifest: Manifest
    config: ImageConfig

    @property
    def base(self) -> tuple[str, str]:
        """Repository and digest of its base, as it says; both empty if it does not."""
        told = {**(self.config.runtime.get("Labels") or {}), **self.manifest.annotations}
        name, digest = told.get(BASE_NAME, ""), told.get(BASE_DIGEST, "")
        host, _, path = name.partition("/")
        # Older versions of the farm wrote the repository alone.
        repository = path.rpartition(":")[0] if ":" in path else name if host else ""
        return (repository, digest) if repository and digest else ("", "")


def refusals(image: NewestImage, release: Release, before: Base | None, base: Base, *, older: bool) -> Iterator[str]:
    """Why the image may not be put on ``base``, a phrase for each reason; with ``older`` an older base is none.

    ``before`` is the base that it stands on, None if the registry no longer has it.
    """
    if (image.config.runtime.get("Labels") or {}).get(REBASABLE_LABEL) == "false":
        yield f"the image's label {REBASABLE_LABEL} is false"
    yield from differences(release.stack, base.stack)
    if (layers := len(release.layers) + len(base.manifest.layers)) > LAYERS_MAX:
        yield f"the image would have {layers} layers, and {LAYERS_MAX} are possible"
    if not older and before is not None and _is_older(base, before):
        yield f"it was made at {base.created}, before the base that the app is on, which was made at {before.created}"


def _is_older(base: Base, before: Base) -> bool:
    """Whether both say when they were made, and this one was made first."""
    made_at, made_before = base.made_at, before.made_at
    return made_at is not None and made_before is not None and made_at < made_before

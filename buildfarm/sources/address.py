"""Where an app's source comes from: an artifact of the registry, a git commit or an archive, each pinned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from buildfarm.fields import Frozen, HttpUrl, Sha256, check_address
from buildfarm.oci.digest import Digest

GitRef = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}$")]

GitUrl = Annotated[
    str, StringConstraints(pattern=r"^(https?|ssh|git)://[^\s]+$", max_length=2048), AfterValidator(check_address)
]


class ArtifactSource(Frozen):
    """A packed directory in the farm's registry, by the digest of its OCI manifest."""

    kind: Literal["artifact"] = "artifact"
    repository: str
    digest: Digest

    @property
    def version(self) -> str:
        """What the build sees as SOURCE_VERSION."""
        return self.digest.hex


class GitSource(Frozen):
    """A commit of a git repository: ``ref`` is a branch, a tag or a full commit id."""

    kind: Literal["git"] = "git"
    url: GitUrl
    ref: GitRef = "HEAD"

    @property
    def version(self) -> str:
        """What the build sees as SOURCE_VERSION."""
        return self.ref


class ArchiveSource(Frozen):
    """A tar archive (plain, gzip or xz) at a URL; its bytes must have the SHA-256 that was promised."""

    kind: Literal["archive"] = "archive"
    url: HttpUrl
    sha256: Sha256

    @property
    def version(self) -> str:
        """What the build sees as SOURCE_VERSION."""
        return self.sha256


Source = Annotated[ArtifactSource | GitSource | ArchiveSource, Field(discriminator="kind")]

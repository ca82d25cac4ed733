"""Where an app's source comes from: an artifact of the registry, a git commit or an archive, each pinned."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from buildfarm.fields import Frozen, GitRef, HttpUrl, Sha256, as_url, check_address
from buildfarm.oci.digest import Digest

GitUrl = Annotated[
    str, StringConstraints(pattern=r"^(https?|ssh|git)://[^\s]+$", max_length=2048), AfterValidator(check_address)
]

CommitId = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})?$")]


class ArtifactSource(Frozen):
    """A packed directory in the farm's registry, by the digest of its OCI manifest."""

    kind: Literal["artifact"] = "artifact"
    repository: str
    digest: Digest
    # Left out if it is empty, so that the input digest of other builds stays what it was.
    commit: CommitId = Field("", description="the commit that was packed", exclude_if=lambda commit: not commit)

    @property
    def version(self) -> str:
        """What the build sees as SOURCE_VERSION."""
        return self.commit or self.digest.hex


class GitSource(Frozen):
    """A commit of a git repository: ``ref`` is a branch, else a tag; or a ref's full name, or a full commit id."""

    kind: Literal["git"] = "git"
    url: GitUrl
    ref: GitRef = "HEAD"

    @model_validator(mode="before")
    @classmethod
    def _split(cls, fields: Any) -> Any:
        """``URL#REF`` is an address with its ref, and ``git@host:path`` one of ssh.

        The first # ends the address: a ref can contain others.
        """
        if not isinstance(fields, dict) or not isinstance(fields.get("url"), str):
            return fields
        fields = {**fields, "url": as_url(fields["url"])}
        if "#" not in fields["url"]:
            return fields
        url, _, ref = str(fields["url"]).partition("#")
        if fields.get("ref", "HEAD") not in ("HEAD", ref):
            raise ValueError("the ref is named twice: behind the # of the address, and as ref")
        return {**fields, "url": url, "ref": ref or "HEAD"}

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

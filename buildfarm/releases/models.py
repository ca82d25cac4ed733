"""What clients see of an app's newest image and its moves to other bases."""

from __future__ import annotations

from pydantic import Field

from buildfarm.fields import Frozen


class Rebase(Frozen):
    """An app's newest image, put on another base without a build."""

    at: float = Field(description="seconds since the epoch")
    image: str = Field(description="the image on the new base, as a digest in the app's repository")
    previous: str = Field(description="the image that it was made of")
    built: str = Field("", description="the image of the build that it comes from")
    base: str = Field(description="the new base, as repository@digest")
    previous_base: str = Field(description="the base before, likewise; empty if it is not known")
    moved: bool = Field(description="whether the tag moves to the image: not in a dry run, nor if it is on this base")


class AppImage(Frozen):
    """An app's newest image and the base that it stands on."""

    tenant: str
    app: str
    image: str = Field(description="digest of its manifest, in the app's repository")
    base: str = Field(description="repository@digest; empty if the image does not say")
    release: str = Field(description="digest of its release; empty: it cannot be moved to another base")
    is_current: bool = Field(description="whether this is the base that builds use now")
    rebases: tuple[Rebase, ...] = Field(description="its newest moves to other bases, the newest first")

"""What clients see of an app's newest image, its moves to other bases, and channels."""

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
    unchecked: str = Field("", description="why it is not known whether its files find all that they need")


class AppImage(Frozen):
    """An app's newest image and the base that it stands on."""

    tenant: str
    app: str
    image: str = Field(description="digest of its manifest, in the app's repository")
    base: str = Field(description="repository@digest; empty if the image does not say")
    release: str = Field(description="digest of its release; empty: it cannot be moved to another base")
    is_current: bool = Field(description="whether this is the base that builds use now")
    channel: str = Field("stable", description="the channel that the app follows")
    rebases: tuple[Rebase, ...] = Field(description="its newest moves to other bases, the newest first")
    previous: str = Field("", description="digest of the image before its newest move")
    rollout: str = Field("", description="the rollout that moves it or has moved it, if it is under way")
    wave: int = Field(0, description="its wave in that rollout, from 1; 0 without one")
    rollout_state: str = Field("", description="where it stands in that rollout")
    held: str = Field("", description="why a person keeps it on its base")
    reasons: tuple[str, ...] = Field((), description="why the rollout does not move it")


class AppChannel(Frozen):
    """The channel that an app follows, and the base that its next build stands on."""

    tenant: str
    app: str
    channel: str
    base: str = Field(description="repository@digest; empty if the farm has none yet")
    by_rollout: bool = Field(False, description="whether a rollout has chosen this base, instead of the channel")


class ChannelChange(Frozen):
    """A channel was pointed to a base, or removed."""

    base: str = Field(description="repository@digest; empty: it was removed")
    actor: str = Field(description="the token's name, or the user of the machine")
    reason: str = ""
    at: float = Field(description="seconds since the epoch")


class Channel(Frozen):
    """A named base that apps follow."""

    name: str
    base: str = Field(description="repository@digest")
    actor: str = Field("", description="who pointed it there; empty if it is not known")
    reason: str = ""
    at: float | None = Field(None, description="when, in seconds since the epoch; null if it is not known")


class ChannelHistory(Channel):
    """A channel and where it was before."""

    changes: tuple[ChannelChange, ...] = Field(description="the newest 50, the newest first")

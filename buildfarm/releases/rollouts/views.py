"""What clients see of rollouts, holds and changes of apps' images."""

from __future__ import annotations

from pydantic import Field

from buildfarm.fields import Frozen
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.states import App, AppState, Phase, Rollout


class GateView(Frozen):
    """The numbers by which a rollout goes on or stops."""

    budget: int = Field(description="apps that may be unhealthy or unknown at once")
    failures: int = Field(description="apps that became unhealthy on the new base and count")
    excused: int = Field(description="failures that apps which have not moved have too")
    pending: int = Field(description="apps that have moved and are not reported yet")
    silent: int = Field(description="of these, since longer than the time for a report")
    running: int = Field(description="apps of this wave that have moved and are meant to run")
    reported: int = Field(description="of these, with a report that counts")


class LogEntry(Frozen):
    """A change of a rollout's phase."""

    at: float
    phase: Phase
    wave: int
    actor: str
    reason: str


class RolloutView(Frozen):
    """A rollout: the apps of a channel move to a base in waves; or a campaign, which rebuilds apps in waves."""

    id: str
    channel: str
    source: str = Field(description="the channel's base before, as repository@digest")
    base: str = Field(description="the new one; empty in a campaign, as the one before")
    rebuilds: str = Field("", description="of a campaign: the component because of which apps are rebuilt")
    phase: Phase
    wave: int = Field(description="the newest wave, from 1")
    waves: int
    checked: bool = Field(description="whether every app was looked at: then it can be started")
    differences: tuple[str, ...] = Field((), description="packages, commands and variables that the new base lacks")
    created_at: float
    since: float = Field(description="when the phase began")
    actor: str = Field(description="who made the newest change")
    reason: str = Field(description="why")
    next: str = Field("", description="what it waits for")
    counts: dict[AppState, int] = Field(default_factory=dict, description="apps by state")
    gate: GateView | None = None
    parameters: Parameters = Parameters()
    log: tuple[LogEntry, ...] = Field((), description="changes of the phase, the newest first")

    @property
    def goal(self) -> str:
        """What it is for, in a phrase after its id."""
        return f"rebuild for {self.rebuilds}" if self.rebuilds else f"to {self.base}"


class RolloutApp(Frozen):
    """An app of a rollout."""

    app: str = Field(description="tenant/app")
    state: AppState
    wave: int = Field(description="from 1")
    build: str = Field("", description="id of the build of a campaign")
    image: str = Field("", description="digest of its image on the new base, or of the rebuilt one")
    previous: str = Field("", description="digest of the image that it goes back to")
    reasons: tuple[str, ...] = ()


class HoldView(Frozen):
    """An app that a person keeps on its base."""

    app: str = Field(description="tenant/app")
    until: float = Field(description="seconds since the epoch")
    reason: str
    actor: str


class AnnouncedBase(Frozen):
    """A base that hosts which run apps should have."""

    base: str = Field(description="repository@digest")
    image: str = Field(description="what a host pulls, as the farm itself reaches the registry")
    reasons: tuple[str, ...] = Field(description="why: channels and rollouts")
    moves_at: float | None = Field(None, description="a rollout's first app moves to it then, if it is started")
    hosts: int = Field(0, description="hosts that report")
    ready: int = Field(0, description="of these, those that have it")


class ImageChange(Frozen):
    """An app is to run another image."""

    position: str = Field(description="where to go on reading after it")
    app: str = Field(description="tenant/app")
    image: str
    previous: str
    base: str
    rollout: str
    wave: int
    reason: str


def app_view(app: App) -> RolloutApp:
    """As clients see it."""
    return RolloutApp(
        app=app.name, state=app.state, wave=app.wave + 1, build=app.build, image=app.image, previous=app.previous,
        reasons=app.reasons,
    )  # fmt: skip


def rollout_view(rollout: Rollout) -> RolloutView:
    """Without its apps."""
    return RolloutView(
        id=rollout.id,
        channel=rollout.channel,
        source=rollout.source,
        base=rollout.base,
        rebuilds=rollout.rebuilds,
        phase=rollout.phase,
        wave=rollout.wave + 1,
        waves=rollout.waves,
        checked=rollout.checked,
        differences=rollout.differences,
        created_at=rollout.created_at,
        since=rollout.since,
        actor=rollout.actor,
        reason=rollout.reason,
        parameters=rollout.parameters,
    )

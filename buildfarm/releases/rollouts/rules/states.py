"""What a rollout and each of its apps are at. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from buildfarm.releases.rollouts.rules.parameters import Parameters


class Phase(StrEnum):
    """Where a rollout stands. The last three are final."""

    PLANNED = "planned"  # its apps are looked at; nothing moves before a person starts it
    CANARY = "canary"  # the first wave moves
    WAVE = "wave"  # a later wave moves
    SOAKING = "soaking"  # a wave has moved, and its apps are watched
    PAUSED = "paused"  # the gate or a person stopped it; only a person resumes it
    ABORTING = "aborting"  # its apps go back
    ABORTED = "aborted"  # all of its apps are on the images that they were on before
    SUPERSEDED = "superseded"  # a rollout to a newer base took its place
    COMPLETE = "complete"  # the channel is on the new base

    @property
    def final(self) -> bool:
        """No change comes after this phase."""
        return self in (Phase.ABORTED, Phase.SUPERSEDED, Phase.COMPLETE)

    @property
    def moves(self) -> bool:
        """Apps are moved to the new base, or will be without a person."""
        return self in (Phase.CANARY, Phase.WAVE, Phase.SOAKING)

    @property
    def active(self) -> bool:
        """It is the one rollout of its channel."""
        return self.moves or self in (Phase.PAUSED, Phase.ABORTING)


class AppState(StrEnum):
    """Where an app of a rollout stands."""

    UNCHECKED = "unchecked"  # not yet known whether it can be moved
    WAITING = "waiting"  # its wave has not come
    BUILDING = "building"  # of a campaign: its build was submitted, or its new layers are still to be read
    COMPOSED = "composed"  # its image on the new base is in the registry; the tag has not moved
    ANNOUNCED = "announced"  # the tag has moved; the orchestrator has not reported the new image
    RUNNING = "running"  # it is reported running, and not as healthy yet
    HEALTHY = "healthy"  # it is reported as healthy on the new base
    FAILED = "failed"  # it was well before, and is reported as unhealthy on the new base
    REVERTED = "reverted"  # it is on its previous image again
    HELD = "held"  # a person keeps it on its base
    NOT_MOVABLE = "not_movable"  # its image cannot be put on the new base; the reasons say why
    FROZEN = "frozen"  # the rollout leaves it out
    UNMOVED = "unmoved"  # it is on the new base already, or is gone


MOVED = frozenset({AppState.ANNOUNCED, AppState.RUNNING, AppState.HEALTHY, AppState.FAILED})
UNDER_WAY = MOVED | {AppState.BUILDING}
READY = frozenset({AppState.WAITING, AppState.COMPOSED})
OUTSIDE = frozenset({AppState.HELD, AppState.NOT_MOVABLE, AppState.FROZEN, AppState.UNMOVED})


@dataclass(frozen=True)
class App:
    """An app of a rollout."""

    name: str  # tenant/app
    state: AppState = AppState.UNCHECKED
    wave: int = 0  # in which it moves; the wave that it moved in, or went back in
    build: str = ""  # id of the build of a campaign
    image: str = ""  # digest of its image on the new base, or of the rebuilt one
    previous: str = ""  # digest of the image that it goes back to
    previous_base: str = ""  # that image's base
    built: str = ""  # the image of the build that both come from
    source: str = ""  # of a campaign: digest of the source that is built again
    kept_base: str = ""  # the base that its builds had from an earlier rollout; empty: the channel's
    announced_at: float = 0.0
    rebuilt: bool = False  # a build has published on the new base since
    was_unhealthy: bool = False  # before it was moved, so that the new base is not to blame
    stopped: bool = False  # nothing of it runs, so that no report is awaited
    refused_seconds: float = 0.0  # of a campaign: of the hour that its rebuild may be refused
    farm_failures: int = 0  # of a campaign: rebuilds that ended by the farm's fault
    reasons: tuple[str, ...] = ()

    @property
    def tenant(self) -> str:
        """Who owns it."""
        return self.name.partition("/")[0]

    @property
    def is_pending(self) -> bool:
        """It has moved or is being rebuilt, and it is not known yet how it is."""
        if self.state is AppState.BUILDING:
            return True
        if self.stopped:
            return False
        return self.state is AppState.ANNOUNCED or (self.state is AppState.RUNNING and not self.was_unhealthy)


@dataclass(frozen=True)
class Rollout:
    """A move of a channel's apps to a base, or a campaign, which rebuilds apps.

    Every change has another revision, and says who made it and why.
    """

    id: str
    number: int  # grows with each rollout of the farm
    channel: str
    source: str  # the channel's base when it was planned, as repository@digest; empty in a campaign
    base: str  # the new one, likewise
    parameters: Parameters = field(default_factory=Parameters)
    phase: Phase = Phase.PLANNED
    paused_in: Phase | None = None  # where it goes on when it is resumed
    wave: int = 0
    waves: int = 0
    checked: bool = False  # whether each app's look is over
    differences: tuple[str, ...] = ()  # what the new base lacks of the channel's, a phrase for each kind of thing
    extra_budget: int = 0  # apps that a person allowed beyond the failure budget
    created_at: float = 0.0
    since: float = 0.0  # when the phase began
    resumed_at: float = 0.0
    actor: str = ""  # of the newest change
    reason: str = ""
    revision: int = 0
    rebuilds: str = ""  # of a campaign: the component because of which apps are rebuilt, as an expression

    def reports_since(self, app: App) -> float:
        """From when on reports count; those on a rebuilt image, which no other rollout made, always do."""
        return 0.0 if self.rebuilds else app.announced_at

    @property
    def blame(self) -> str:
        """What its failed apps did, in a phrase after their number."""
        return "failed to be rebuilt, or became unhealthy" if self.rebuilds else "became unhealthy on the new base"

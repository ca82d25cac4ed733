"""A farm of the tests' own for campaigns: images with their components, builds, and one rollout as Redis has it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

from buildfarm.errors import ConflictError, NotFoundError, QueueFullError, TooLateError
from buildfarm.model import Build, BuildRequest, BuildResult, Failure, Fault, State
from buildfarm.queue.why import Standing
from buildfarm.releases.facts.components.component import Component
from buildfarm.releases.facts.components.image import Part
from buildfarm.releases.facts.components.layer import LayerComponents
from buildfarm.releases.rollouts import watch
from buildfarm.releases.rollouts.engine import Engine
from buildfarm.releases.rollouts.mover import Mover
from buildfarm.releases.rollouts.rebuilds.builds import CampaignBuilds
from buildfarm.releases.rollouts.rebuilds.campaign import Campaign
from buildfarm.releases.rollouts.rules import persons
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.persons import Deed
from buildfarm.releases.rollouts.rules.reports import AppHealth, Observation, Status
from buildfarm.releases.rollouts.rules.states import App, Phase, Rollout
from buildfarm.releases.rollouts.watch import Watch
from buildfarm.telemetry import logger

LODASH = "npm/lodash@<4.17.21"
BAD, GOOD, ODD = (
    LayerComponents({"app/x": (Component("npm", "lodash", version),)}) for version in ("4.17.20", "4.17.21", "latest")
)
SOURCE = {"kind": "artifact", "repository": "sources/t"}


class DiedError(Exception):
    """The node that does it is gone."""


@dataclass
class World:
    """Apps t/a0 … with the component in their own layers, an engine that can die at any write, and its clock."""

    count: int = 3
    rules: Parameters = field(default_factory=lambda: Parameters(cohorts=("1", "100%"), soak_seconds=60))
    clock: float = 1_000_000.0
    contents: dict[str, LayerComponents | None] = field(default_factory=dict)  # by image; None: not read yet
    bases: dict[str, LayerComponents] = field(default_factory=dict)  # what an image's base has
    builds: dict[str, Build] = field(default_factory=dict)
    ours: set[str] = field(default_factory=set)  # ids of the campaign's builds
    submitted: list[BuildRequest] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    events: list[tuple[str, str]] = field(default_factory=list)  # announced images
    writes_left: int = 1_000_000
    is_full: bool = False
    is_held: bool = False  # the tenant has as many builds at once as it may
    busy: set[str] = field(default_factory=set)  # tenants whose own builds run, as many as may
    refusal: Exception | None = None  # of every submit
    number: int = 0
    settings: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(classes={"interactive": 4, "bulk": 1}))

    def __post_init__(self) -> None:
        self.names = [f"t/a{number}" for number in range(self.count)]
        self.database = SimpleNamespace(now=lambda: self.clock)
        self.health: dict[str, AppHealth] = {}
        for name in self.names:
            self.publish(name, BAD)
        self.before = dict(self.tags)
        self.rollout = Rollout("r1", 1, "stable", "", "", self.rules, rebuilds=LODASH, created_at=self.clock)
        self.kept = {name: App(name) for name in self.names}
        self.restart()

    # The farm, as `CampaignBuilds` and the image reader see it.

    @property
    def records(self):
        return SimpleNamespace(
            tag_target=lambda target: self.tags.get(target.removeprefix("apps/"), ""), database=self.database
        )

    @property
    def admission(self):
        return SimpleNamespace(standing=self.standing)

    def standing(self, build):
        is_busy = build.request.tenant in self.busy
        return Standing(1, 1, 0, 1, tenant_running=1 if is_busy else 0)

    def page(self, limit, *, tenant, app, states, after=""):
        own = [one for one in self.builds.values() if one.request.app == app and one.state in states]
        return own[::-1], None

    def has_source(self, packed):
        return True

    def get(self, build_id):
        if build_id not in self.builds:
            raise NotFoundError("no build")
        return self.builds[build_id]

    def cancel(self, build_id):
        build = self.get(build_id)
        if build.phase:
            raise TooLateError("it is being published")
        if not build.state.final:
            self.builds[build_id] = build.model_copy(update={"state": State.CANCELLED})

    def open(self, name):
        return [one for one in self.builds.values() if _name(one) == name and not one.state.final]

    def submit_if(self, only_if, request, build_id):
        """As scripts/submit.lua."""
        self.write()
        if build_id in self.builds:
            return self.builds[build_id]
        name = f"{request.tenant}/{request.app}"
        same = only_if.newest == self.tags[name] and only_if.revision == self.rollout.revision
        if self.open(name) or not same:
            raise ConflictError("newer")
        if self.is_full:
            raise QueueFullError("t has 1000 builds waiting", retry_after_seconds=60)
        if self.refusal:
            raise self.refusal
        self.submitted.append(request)
        self.ours.add(build_id)
        state = State.HELD if self.is_held else State.QUEUED
        self.builds[build_id] = Build(id=build_id, request=request, state=state, submitted_at=self.clock)
        return self.builds[build_id]

    def read(self, repository, digest):
        own = self.contents[digest]
        part = Part(f"{repository}@{digest}", own or LayerComponents(), "", ("layer",) if own is None else ())
        return part, Part("builder@sha256:b", self.bases.get(digest, LayerComponents()), "")

    # Builds of tenants and nodes.

    def push(self, name):
        """A tenant submits a newer build, which supersedes those that wait."""
        for one in self.open(name):
            if one.state is State.QUEUED:
                self.builds[one.id] = one.model_copy(update={"state": State.SUPERSEDED})
        self.number += 1
        build = Build(id=f"user{self.number}", request=request(name), state=State.QUEUED, submitted_at=self.clock)
        self.builds[build.id] = build
        return build.id

    def end(self, build_id, contents=GOOD, *, failed=False, fault=Fault.APP):
        build = self.builds[build_id]
        if failed:
            failure = Failure(code="compile.failed", fault=fault, phase=None, message="npm ended with 1")
            self.builds[build_id] = build.model_copy(update={"state": State.FAILED, "failure": failure})
            return
        self.publish(_name(build), contents, build)

    def publish(self, name, contents, build=None):
        self.number += 1
        image = f"sha256:{self.number:064x}"
        build = build or Build(id=f"b{self.number}", request=request(name), state=State.QUEUED, submitted_at=self.clock)
        result = BuildResult(
            repository=f"apps/{name}", digest=image, tag="latest", layers=(), uploaded_bytes=0, phase_seconds={},
            node="n", attempt=1,
        )  # fmt: skip
        done = build.model_copy(update={"state": State.SUCCEEDED, "result": result, "phase": None})
        self.contents[image], self.tags[name], self.builds[build.id] = contents, image, done

    # Redis, as rollouts see it.

    def all(self):
        return [self.rollout]

    def apps(self, rollout_id):
        return dict(self.kept)

    def targets(self, names):
        return {name: self.tags[name] for name in names if name in self.tags}

    def write(self):
        self.writes_left -= 1
        if self.writes_left < 0:
            raise DiedError

    def change(self, change):
        self.write()
        assert change.before.revision == self.rollout.revision, "one engine at a time"
        assert not change.builds_on, "a campaign changes no base"
        assert not change.moves_channel
        move = change.move
        if move is not None:
            document = change.encode()
            assert '"base": ' not in document.partition('"move"')[2]
            expected = move.entry.image if move.is_there else move.entry.previous
            if self.tags[move.app.name] != expected:
                return "other"
            self.tags[move.app.name] = move.entry.image
            self.events.append((move.app.name, move.entry.image))
        self.rollout = change.written
        self.kept |= {app.name: app for app in (*change.apps, *([move.app] if move else []))}
        return "done"

    # People and the engine.

    def restart(self) -> None:
        rebaser = SimpleNamespace(
            facts=SimpleNamespace(is_read=lambda: True), rebases=SimpleNamespace(of=lambda tenant, app: ()),
            move_tag=lambda target, sent: None, records=self.records, registry=None,
        )  # fmt: skip
        mover = Mover(rebaser, self, clock=lambda: self.clock)
        campaign = Campaign(mover, CampaignBuilds(self), self)
        own = Watch(self.database, mover, campaign)
        own.refresh = lambda now: own.health.update(self.health)
        self.engine = Engine(mover, own, lambda: True, logger())
        self.engine._is_behind = False
        self.writes_left = 1_000_000

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.engine.turn()

    def person(self, do, *args) -> None:
        self.rollout = replace(do(self.rollout, *args), revision=self.rollout.revision + 1000)

    def report(self, name, status=Status.HEALTHY):
        seen = Observation(self.tags[name], "o", status, self.clock + 7200)
        self.health[name] = AppHealth((seen,))

    def states(self):
        return {name: str(app.state) for name, app in self.kept.items()}


def _name(build):
    return f"{build.request.tenant}/{build.request.app}"


def request(name):
    tenant, _, app = name.partition("/")
    return BuildRequest(tenant=tenant, app=app, source={**SOURCE, "digest": f"sha256:{'a' * 64}"})


def nothing(patch) -> None:
    """No holds, no reports of running images."""
    none = SimpleNamespace(active=dict, of=lambda apps: {}, since=lambda at: [], digests=set)
    for name in ("Holds", "Observations", "ImagesInUse"):
        patch.setattr(watch, name, lambda database: none)


def started(world: World) -> World:
    world.turn()
    assert world.rollout.checked
    begun, waiting, _ = persons.start(world.rollout, world.kept, [], Deed(world.clock, "ops", "a fix"))
    assert begun.phase is Phase.CANARY
    world.rollout = replace(begun, revision=world.rollout.revision + 1000)
    world.kept |= {app.name: app for app in waiting}
    return world

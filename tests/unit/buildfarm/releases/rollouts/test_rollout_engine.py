"""The engine over a registry and a store of the test's own: when the registry fails, and when people move apps."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from buildfarm.errors import RegistryError
from buildfarm.releases.facts.check import NoFactsError
from buildfarm.releases.facts.pair import UNREAD_BASE
from buildfarm.releases.models import Rebase
from buildfarm.releases.rollouts import channel, engine, watch
from buildfarm.releases.rollouts.engine import Engine
from buildfarm.releases.rollouts.mover import Mover
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.reports import REPORT_SECONDS, AppHealth, Observation, Status
from buildfarm.releases.rollouts.rules.states import App, AppState, Phase, Rollout
from buildfarm.releases.rollouts.watch import Watch
from buildfarm.telemetry import logger

NOW = 1_000_000.0
NEW = "b@new"


@dataclass
class Store:
    """One rollout as Redis has it, and the apps' tags and bases of their builds."""

    rollout: Rollout
    kept: dict[str, App]
    tags: dict[str, str]
    bases: dict[str, str] = field(default_factory=dict)
    database: object = field(default_factory=lambda: SimpleNamespace(now=lambda: NOW))

    def all(self):
        return [self.rollout]

    def apps(self, rollout_id):
        return dict(self.kept)

    def targets(self, names):
        return {name: self.tags[name] for name in names if name in self.tags}

    def builds_on(self, names):
        return [self.bases.get(name, "") for name in names]

    def change(self, change):
        assert change.before.revision == self.rollout.revision
        self.rollout = change.written
        changed = [*change.apps, *([change.move.app] if change.move else [])]
        self.kept |= {app.name: app for app in changed}
        if change.move:
            self.tags[change.move.app.name] = change.move.entry.image
            self.bases[change.move.app.name] = change.move.builds_on
        self.bases |= change.builds_on
        return "done"


class Rebaser:
    """A registry that fails for some apps, or for everything."""

    def __init__(self, *fails):
        self.fails = fails
        self.facts = None
        self.registry = object()
        self.rebases = SimpleNamespace(of=lambda tenant, app: self.moves)
        self.moves = ()
        self.records = SimpleNamespace(database=SimpleNamespace(now=lambda: NOW))

    def _ask(self, what):
        if what in self.fails or "all" in self.fails:
            raise RegistryError(f"the registry fails for {what}")

    def newest(self, tenant, app):
        self._ask(f"{tenant}/{app}")
        return SimpleNamespace(base=("b", "old"), digest=f"late-{app}")

    def base(self, repository, digest):
        self._ask("base")
        return SimpleNamespace(digest=digest, reference=f"{repository}@{digest}")

    def plan(self, name, image, base, *, older, needs_facts=False):
        self.older = older
        move = SimpleNamespace(
            moved=True, image=f"new-{name}", previous=image.digest, previous_base="b@old", built="", base=NEW
        )
        return move, SimpleNamespace(digest=move.image, media_type="", manifest=b""), {}

    def push(self, image, base, composed):
        """Nothing."""

    def move_tag(self, target, sent):
        """Nothing."""


def app(name, state=AppState.ANNOUNCED, **fields):
    moved = App(name, state, image="new", previous="old", previous_base="b@old", kept_base="b@kept", announced_at=NOW)
    return replace(moved, **fields)


@pytest.fixture
def made(monkeypatch):
    """``made(phase, apps, tags, rebaser)`` is an engine and its store."""
    nothing = SimpleNamespace(active=dict, of=lambda apps: {}, since=lambda at: [], digests=set)
    for name in ("Holds", "Observations", "ImagesInUse"):
        monkeypatch.setattr(watch, name, lambda database: nothing)

    def make(phase, apps, tags, rebaser, **parameters):
        rules = Parameters(failure_budget=1, **parameters)
        rollout = Rollout("r1", 1, "stable", "b@old", NEW, rules, phase, waves=1, reason="a regression", since=NOW)
        store = Store(rollout, {one.name: one for one in apps}, dict(tags))
        mover = Mover(rebaser, store)
        found = Engine(mover, Watch(store.database, mover, SimpleNamespace()), lambda: True, logger())
        found._is_behind = False
        return found, store

    return make


def test_an_abort_needs_nothing_of_the_registry(made):
    apps = [app(f"t/a{number}") for number in range(40)]
    found, store = made(Phase.ABORTING, apps, {one.name: "new" for one in apps}, Rebaser("all"))
    found.turn()
    assert store.rollout.phase is Phase.ABORTED
    assert set(store.tags.values()) == {"old"}
    assert set(store.bases.values()) == {"b@kept"}


def test_an_abort_goes_on_beside_an_app_that_the_registry_fails_for(made):
    """Builds of two apps have published since, which the registry must be asked about."""
    apps = [app(f"t/a{number}") for number in range(40)]
    tags = {one.name: "new" for one in apps} | {"t/a3": "late", "t/a4": "late"}
    found, store = made(Phase.ABORTING, apps, tags, Rebaser("t/a3"))
    with pytest.raises(RegistryError, match="t/a3"):
        found.turn()
    assert store.rollout.phase is Phase.ABORTING
    assert store.kept["t/a3"] == apps[3], "as it was"
    assert "t/a3" not in store.bases
    assert {one.state for name, one in store.kept.items() if name not in ("t/a3", "t/a4")} == {AppState.REVERTED}
    found.mover.rebaser.fails = ()
    found.turn()
    assert store.rollout.phase is Phase.ABORTED


def test_apps_move_beside_one_that_the_registry_fails_for(made):
    apps = [App(f"t/a{number}", AppState.WAITING) for number in range(3)]
    found, store = made(Phase.WAVE, apps, {one.name: "old" for one in apps}, Rebaser("t/a1"))
    with pytest.raises(RegistryError, match="t/a1"):
        found.turn()
    states = {name: one.state for name, one in store.kept.items()}
    assert states == {"t/a0": AppState.ANNOUNCED, "t/a1": AppState.WAITING, "t/a2": AppState.ANNOUNCED}


def test_a_look_at_the_apps_is_not_over_before_the_registry_has_told_of_all(made):
    apps = [App(f"t/a{number}") for number in range(3)]
    found, store = made(Phase.PLANNED, apps, {one.name: "old" for one in apps}, Rebaser("t/a1"))
    with pytest.raises(RegistryError, match="t/a1"):
        found.turn()
    assert not store.rollout.checked
    assert store.kept["t/a2"].state is AppState.WAITING
    found.mover.rebaser.fails = ()
    found.turn()
    assert store.rollout.checked


@pytest.mark.parametrize("source", ["b@old", NEW], ids=["another base", "the channel's base"])
def test_only_a_rollout_to_the_channels_own_base_takes_apps_back(made, source):
    """After a rollout that was superseded, and whose successor was aborted, its apps are on a base of no channel."""
    found, store = made(Phase.PLANNED, [App("t/a0")], {"t/a0": "old"}, Rebaser())
    store.rollout = replace(store.rollout, source=source)
    found.turn()
    assert found.mover.rebaser.older is (source == NEW)


def test_an_app_that_a_person_puts_back_stays_there(made):
    apps = [app("t/a0", AppState.HEALTHY), app("t/a1", AppState.HEALTHY)]
    found, store = made(Phase.WAVE, apps, {"t/a0": "old", "t/a1": "new"}, Rebaser("all"))
    found.turn()
    back = store.kept["t/a0"]
    assert (back.state, back.reasons) == (AppState.REVERTED, ("it was put back on its previous image",))
    assert store.bases == {"t/a0": "b@kept"}
    assert store.tags["t/a0"] == "old"


def test_an_app_that_a_person_puts_on_a_third_base_stays_there(made):
    apps = [app("t/a0", AppState.HEALTHY, built="built"), app("t/a1", AppState.HEALTHY, built="built")]
    found, store = made(Phase.WAVE, apps, {"t/a0": "late-a0", "t/a1": "late-a1"}, Rebaser())
    moved = Rebase(at=NOW, image="late-a0", previous="new", built="built", base="b@3", previous_base=NEW, moved=True)
    found.mover.rebaser.moves = (moved,)
    known = {one.name: one for one in found.watch.changed(store.rollout, store.kept, NOW)}
    assert (known["t/a0"].state, known["t/a0"].reasons) == (AppState.REVERTED, ("it was put on another base",))
    assert known["t/a1"].state is AppState.WAITING, "a late build is moved again"


def test_apps_that_people_put_back_are_failures(made):
    apps = [app("t/a0", AppState.HEALTHY)]
    found, store = made(Phase.WAVE, apps, {"t/a0": "old"}, Rebaser())
    found.turn()
    assert store.rollout.phase is Phase.PAUSED
    assert store.rollout.reason == "1 app became unhealthy on the new base: t/a0"


@pytest.mark.parametrize(
    ("seconds", "state"), [(60, AppState.ANNOUNCED), (-1, AppState.FAILED)], ids=["before the move", "after it"]
)
def test_what_was_reported_before_the_move_is_no_failure(made, seconds, state):
    """The same image as in an earlier rollout to this base, on which the app was unhealthy then."""
    found, store = made(Phase.WAVE, [app("t/a0")], {"t/a0": "new"}, Rebaser())
    seen = Observation("new", "o", Status.UNHEALTHY, until=NOW - seconds + REPORT_SECONDS)
    found.watch.health["t/a0"] = AppHealth((seen,))
    known = {one.name: one for one in found.watch.changed(store.rollout, store.kept, NOW)}
    assert (store.kept | known)["t/a0"].state is state


def test_the_channels_tag_is_tried_again(made, monkeypatch):
    apps = [app("t/a0", AppState.HEALTHY)]
    found, _ = made(Phase.COMPLETE, apps, {"t/a0": "new"}, Rebaser())
    asked, fails = [], [RegistryError("down")]

    def move(registry, base, recorded):
        if fails:
            raise fails.pop()
        asked.append(base)

    monkeypatch.setattr(channel, "move_channel", move)
    monkeypatch.setattr(channel, "Pointers", lambda database: SimpleNamespace(get=lambda name: NEW))
    found._is_behind = True
    with pytest.raises(RegistryError, match="down"):
        found.turn()
    found.turn()
    found.turn()
    assert asked == [NEW], "once is enough"
    monkeypatch.setattr(channel, "Pointers", lambda database: SimpleNamespace(get=lambda name: "b@another"))
    engine.follow_channel(object(), object(), [NEW])
    assert asked == [NEW], "the channel has moved on"


class Unread(Rebaser):
    """The files of some apps have not been read; nodes read others, or none."""

    def __init__(self, *unread, reads=False):
        super().__init__()
        self.unread, self.looks = unread, []
        self.facts = SimpleNamespace(is_read=lambda: reads, differences=lambda before, after: ("1 packages: perl",))

    def plan(self, name, image, base, *, older, needs_facts=False):
        self.looks.append(name)
        if needs_facts and name in self.unread:
            error = NoFactsError("It is not known.")
            error.why, error.pending = "its files have not been read yet", True
            raise error
        return super().plan(name, image, base, older=older)


def at(found, now):
    """An engine whose mover has this clock."""
    found.mover = found.watch.mover = replace(found.mover, clock=lambda: now[0])
    return found


def test_an_app_whose_files_are_being_read_is_looked_at_again_and_does_not_move_if_nodes_read_none(made):
    apps, now = [App("t/a0"), App("t/a1")], [0.0]
    found, store = made(Phase.PLANNED, apps, {one.name: "old" for one in apps}, Unread("t/a0"))
    at(found, now)
    for now[0] in (0.0, 1.0, 60.0, 899.0):
        found.turn()
        assert [store.kept[one.name].state for one in apps] == [AppState.UNCHECKED, AppState.WAITING]
        assert store.kept["t/a0"].reasons == ("its files have not been read yet",)
        assert not store.rollout.checked
    now[0] = 1100.0
    found.turn()
    assert store.kept["t/a0"].state is AppState.NOT_MOVABLE
    assert store.kept["t/a0"].reasons == ("It is not known; no node has read a layer for 15 minutes.",)
    assert (store.rollout.checked, store.rollout.differences) == (True, ("1 packages: perl",))


def test_a_plan_waits_until_nodes_have_read_none_for_15_minutes(made):
    now, rebaser = [0.0], Unread("t/a0", reads=True)
    found, store = made(Phase.PLANNED, [App("t/a0")], {"t/a0": "old"}, rebaser)
    at(found, now)
    for now[0] in (0.0, 1000.0, 50_000.0, 50_890.0):
        rebaser.facts.is_read = lambda: now[0] <= 50_000.0
        found.turn()
        assert store.kept["t/a0"].state is AppState.UNCHECKED
    now[0] = 51_200.0
    found.turn()
    assert store.kept["t/a0"].state is AppState.NOT_MOVABLE
    assert "no node has read a layer for 15 minutes" in store.kept["t/a0"].reasons[0]


def test_an_outage_of_the_registry_is_no_time_in_which_nodes_could_read(made):
    now, rebaser = [0.0], Unread("t/a0")
    found, store = made(Phase.PLANNED, [App("t/a0")], {"t/a0": "old"}, rebaser)
    at(found, now).turn()
    rebaser.fails, now[0] = ("t/a0",), 100.0
    with pytest.raises(RegistryError):
        found.turn()
    rebaser.fails, now[0] = (), 2000.0
    found.turn()
    assert store.kept["t/a0"].state is AppState.UNCHECKED


def test_what_the_new_base_lacks_is_listed_as_soon_as_it_is_read(made):
    now, rebaser = [0.0], Unread()
    rebaser.facts.differences = lambda before, after: (UNREAD_BASE,)
    found, store = made(Phase.PLANNED, [App("t/a0")], {"t/a0": "old"}, rebaser, without_facts="it cannot wait")
    at(found, now).turn()
    assert (store.rollout.checked, store.rollout.differences) == (True, (UNREAD_BASE,))
    rebaser.facts.differences = lambda before, after: ("1 packages: perl",)
    found.turn()
    assert store.rollout.differences == ("1 packages: perl",)


def test_each_rollout_waits_for_an_apps_files_by_itself(made):
    now = [0.0]
    found, store = made(Phase.PLANNED, [App("t/a0")], {"t/a0": "old"}, Unread("t/a0"))
    at(found, now).turn()
    store.rollout, now[0] = replace(store.rollout, id="r2"), 2000.0
    found.turn()
    assert store.kept["t/a0"].state is AppState.UNCHECKED
    assert [*found.mover.unread] == [("r2", "t/a0")]


class Slow(Unread):
    """Each look takes some time of the clock; files have not been read, except of the app ``t/last``."""

    def __init__(self, now, seconds):
        super().__init__(reads=True)
        self.now, self.seconds, self.lock = now, seconds, threading.Lock()

    def plan(self, name, image, base, *, older, needs_facts=False):
        with self.lock:
            self.now[0] += self.seconds
            self.unread = () if name == "t/last" else (name,)
            return super().plan(name, image, base, older=older, needs_facts=needs_facts)


@pytest.mark.parametrize(("phase", "state"), [(Phase.PLANNED, AppState.UNCHECKED), (Phase.WAVE, AppState.WAITING)])
def test_a_turn_looks_at_each_app_at_most_once(made, phase, state):
    apps, now = [App(f"t/a{number:02}", state) for number in range(80)], [0.0]
    rebaser = Slow(now, 0.3)
    found, _ = made(phase, apps, {one.name: "old" for one in apps}, rebaser, max_in_flight=8)
    at(found, now).turn()
    assert sorted(rebaser.looks) == [one.name for one in apps]


@pytest.mark.parametrize(("phase", "state"), [(Phase.PLANNED, AppState.UNCHECKED), (Phase.WAVE, AppState.WAITING)])
def test_a_turn_ends_beside_many_unread_apps_and_all_are_looked_at_in_time(made, phase, state):
    apps, now = [App(f"t/a{number:03}", state) for number in range(300)] + [App("t/last", state)], [0.0]
    rebaser = Slow(now, 0.2)
    found, store = made(phase, apps, {one.name: "old" for one in apps}, rebaser, max_in_flight=32)
    at(found, now)
    for _ in range(4):
        before = now[0]
        found.turn()
        assert now[0] - before <= 40, "health and other rollouts wait for it"
    assert {*rebaser.looks} == {one.name for one in apps}
    assert store.kept["t/last"].state in (AppState.WAITING, AppState.ANNOUNCED)


def test_looks_become_rarer_the_longer_an_app_waits(made):
    now, rebaser = [0.0], Unread("t/a0", reads=True)
    found, _ = made(Phase.PLANNED, [App("t/a0")], {"t/a0": "old"}, rebaser)
    at(found, now)
    for now[0] in range(0, 3600, 2):
        found.turn()
    assert 25 < len(rebaser.looks) < 50


def test_looks_that_change_nothing_write_nothing(made):
    apps, now = [App(f"t/a{number}", AppState.WAITING) for number in range(20)], [0.0]
    found, store = made(Phase.WAVE, apps, {one.name: "old" for one in apps}, Unread(*(one.name for one in apps)))
    at(found, now).turn()
    before = store.rollout.revision
    now[0] = 20.0
    found.turn()
    assert store.rollout.revision == before
    assert len(found.mover.rebaser.looks) == 40


def test_apps_that_cannot_be_moved_yet_leave_their_room_to_others(made):
    apps, now = [App(f"t/a{number}", AppState.WAITING) for number in range(6)], [0.0]
    unread = {one.name for one in apps[:5]}
    found, store = made(Phase.WAVE, apps, {one.name: "old" for one in apps}, Unread(*unread), max_in_flight=1)
    at(found, now).turn()
    assert {name for name, one in store.kept.items() if one.state is AppState.ANNOUNCED} == {"t/a5"}
    assert found.mover.unread.keys() & {("r1", name) for name in unread}, "some were looked at before"
    assert store.rollout.phase is Phase.WAVE


def test_a_wave_is_not_over_while_apps_wait_for_their_files(made):
    apps = [App("t/a0", AppState.WAITING), app("t/a1", AppState.HEALTHY)]
    seen = Observation("new", "o", Status.HEALTHY, until=NOW + REPORT_SECONDS)
    found, store = made(Phase.WAVE, apps, {"t/a0": "old", "t/a1": "new"}, Unread("t/a0"))
    found.watch.health["t/a1"] = AppHealth((seen,))
    for _ in range(3):
        found.turn()
    assert store.rollout.phase is Phase.WAVE
    assert store.kept["t/a0"].reasons == ("its files have not been read yet",)


def test_rollouts_that_move_come_before_plans(made):
    found, store = made(Phase.PLANNED, [], {}, Rebaser())
    other, order = replace(store.rollout, id="r2", phase=Phase.WAVE), []
    store.all = lambda: [store.rollout, other]
    found._look = found._go = lambda rollout: order.append(rollout.id)
    found.turn()
    assert order == ["r2", "r1"]


def test_a_reason_lets_apps_move_of_which_too_little_is_known(made):
    found, store = made(Phase.PLANNED, [App("t/a0")], {"t/a0": "old"}, Unread("t/a0"), without_facts="it cannot wait")
    found.turn()
    assert store.kept["t/a0"].state is AppState.WAITING


@pytest.mark.parametrize("error", [ValueError, TypeError])
def test_an_image_that_cannot_be_composed_stops_no_other_app(made, monkeypatch, error):
    rebaser = Rebaser()
    plan = rebaser.plan

    def fail(name, *args, **kwargs):
        if name == "t/bad":
            raise error("cannot be encoded")
        return plan(name, *args, **kwargs)

    monkeypatch.setattr(rebaser, "plan", fail)
    apps = [app("t/bad", AppState.UNCHECKED), app("t/good", AppState.UNCHECKED)]
    one, store = made(Phase.PLANNED, apps, {"t/bad": "old", "t/good": "old"}, rebaser)
    one.turn()
    assert [store.kept[name].state for name in ("t/bad", "t/good")] == [AppState.NOT_MOVABLE, AppState.WAITING]

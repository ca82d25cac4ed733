"""What people and orchestrators do with rollouts. Part of `Farm`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from buildfarm import LazyModule
from buildfarm.errors import ConflictError, RequestError
from buildfarm.releases.base import STABLE, read_base
from buildfarm.releases.builder import check_builder
from buildfarm.releases.channels.app_bases import AppBases
from buildfarm.releases.rollouts.changes import Change
from buildfarm.releases.rollouts.hosts import Hosts
from buildfarm.releases.rollouts.observations import Holds, Observations
from buildfarm.releases.rollouts.outside import APPS, Outside
from buildfarm.releases.rollouts.rules import persons
from buildfarm.releases.rollouts.rules.cohorts import in_order
from buildfarm.releases.rollouts.rules.gate import measure
from buildfarm.releases.rollouts.rules.machine import Wait, next_step
from buildfarm.releases.rollouts.rules.parameters import APPS_MAX, Parameters
from buildfarm.releases.rollouts.rules.persons import Deed
from buildfarm.releases.rollouts.rules.reports import AppHealth
from buildfarm.releases.rollouts.rules.states import App, AppState, Rollout
from buildfarm.releases.rollouts.store import Rollouts
from buildfarm.releases.rollouts.views import GateView, LogEntry, RolloutApp, RolloutView
from buildfarm.releases.rollouts.views import app_view as shown_app
from buildfarm.releases.rollouts.views import rollout_view as shown
from buildfarm.releases.signing.known_bases import KnownBases
from buildfarm.store.tags import tag_targets

if TYPE_CHECKING:
    from buildfarm.releases.rollouts.rebuilds import plan as plans
else:  # it compares versions of components, which few calls need
    plans = LazyModule("buildfarm.releases.rollouts.rebuilds.plan")

_TRIES = 20  # of changes by the engine, which come one after another while a wave moves


@dataclass(frozen=True)
class Service(Outside):
    """Raises StoreError, NotFoundError for what is unknown, ConflictError and RequestError."""

    @property
    def rollouts(self) -> Rollouts:
        """Where they are kept."""
        return Rollouts(self.database)

    def plan(self, base: str, rules: Parameters | None, channel: str) -> RolloutView:
        """A rollout that moves nothing yet; the leading node looks at its apps. Raises RegistryError too."""
        if channel != STABLE:
            raise RequestError(
                f"A rollout moves the apps of the channel {STABLE}, not of {channel[:40]}.",
                advice="buildfarm channels set points another channel to a base at once.",
            )
        if not (source := self.farm.builder()):
            raise RequestError("The farm has no builder yet.", advice="buildfarm builder promote sets it.")
        reference, parameters = check_builder(self.farm.registry, base), rules or Parameters()
        try:
            read_base(self.farm.registry, *reference.split("@"))
        except ValueError as error:
            raise RequestError(f"No app can stand on {reference}: {error}.") from error
        KnownBases(self.database).add(reference)
        now = self.database.now()
        draft = Rollout(
            "", 0, channel, source, reference, parameters, created_at=now, since=now, actor=self.actor, reason="planned"
        )
        names = [target.removeprefix(APPS) for target in tag_targets(self.database) if target.startswith(APPS)]
        followed = AppBases(self.database).followed()
        apps = [_planned(name, followed.get(name, STABLE), parameters.freeze) for name in names]
        return self.show(self.rollouts.add(draft, apps).id)

    def plan_rebuild(self, expression: str, rules: Parameters | None) -> RolloutView:
        """A campaign that builds nothing yet; the leading node looks at each app that may have the component."""
        if not self.farm.settings.layer_facts:
            raise RequestError(
                "This farm does not read what is in images.",
                advice="Its operators turn it on: BUILDFARM_LAYER_FACTS=true.",
            )
        parameters, now = rules or Parameters(), self.database.now()
        apps = plans.candidates(self.database, expression, parameters.freeze)
        draft = Rollout(
            "", 0, STABLE, "", "", parameters, created_at=now, since=now, actor=self.actor, reason="planned",
            rebuilds=expression,
        )  # fmt: skip
        return self.show(self.rollouts.add(draft, apps).id)

    def start(self, rollout_id: str, reason: str) -> RolloutView:
        """From now on its apps move."""

        def change(rollout: Rollout) -> Change:
            others = [one for one in self.rollouts.all() if one.id != rollout.id]
            apps = self.rollouts.apps(rollout.id)
            begun, waiting, ended = persons.start(rollout, apps, others, self._deed(reason or "started"))
            return Change(rollout, begun, waiting, ends=ended)

        return self._change(rollout_id, change)

    def pause(self, rollout_id: str, reason: str) -> RolloutView:
        """It announces nothing until a person resumes it."""
        return self._person(rollout_id, lambda one: persons.pause(one, self._deed(reason)))

    def resume(self, rollout_id: str, reason: str, extra: int) -> RolloutView:
        """It goes on where it was paused; ``extra`` more apps of the wave may fail."""
        if not 0 <= extra <= APPS_MAX:
            raise RequestError(f"From 0 to {APPS_MAX} more apps may fail, not {extra}.")

        def resumed(rollout: Rollout) -> Rollout:
            apps, health = self._known(rollout)
            return persons.resume(rollout, apps, health, self._deed(reason), extra)

        return self._person(rollout_id, resumed)

    def abort(self, rollout_id: str, reason: str) -> RolloutView:
        """Its apps go back to the images that they were on before."""
        return self._person(rollout_id, lambda one: persons.abort(one, self._deed(reason)))

    def newest(self) -> list[RolloutView]:
        """The newest ones, the newest first, without their apps."""
        return [shown(rollout) for rollout in self.rollouts.all()]

    def show(self, rollout_id: str) -> RolloutView:
        """One with its apps' states and the gate's numbers."""
        return self.with_apps(rollout_id)[0]

    def with_apps(self, rollout_id: str) -> tuple[RolloutView, list[App]]:
        """The same with its apps, of one reading."""
        rollout = self.rollouts.get(rollout_id)
        apps, health = self._known(rollout)
        now = self.database.now()
        step = next_step(rollout, apps, health, now, hosts=Hosts(self.database).awaited(rollout, now))
        waits = rollout.phase.moves and isinstance(step, Wait)
        gate = asdict(measure(rollout, apps, health, now)) if rollout.phase.active else {}
        view = shown(rollout).model_copy(
            update={
                "next": step.why if waits and isinstance(step, Wait) else "",
                "counts": dict(sorted(Counter(app.state for app in apps.values()).items())),
                "gate": GateView(**{name: gate[name] for name in GateView.model_fields}) if gate else None,
                "log": tuple(LogEntry(**line) for line in self.rollouts.log(rollout_id)),
            }
        )
        return view, list(apps.values())

    def apps(self, rollout_id: str, states: Collection[AppState] = ()) -> list[RolloutApp]:
        """Its apps in their order; of these states only, if any are named."""
        rollout = self.rollouts.get(rollout_id)
        found = in_order(self.rollouts.apps(rollout_id).values(), rollout.id)
        return [shown_app(app) for app in sorted(found, key=lambda app: app.wave) if not states or app.state in states]

    def place_of(self, app: str) -> dict[str, Any]:
        """Where an app stands in the rollout that is under way, and who holds it, as fields of `AppImage`."""
        held = Holds(self.database).active().get(app)
        found: dict[str, Any] = {"held": f"{held.actor}: {held.reason}"} if held else {}
        for rollout, known in self.rollouts.active_of(app):
            place = {"rollout": rollout.id, "wave": known.wave + 1, "rollout_state": known.state}
            found |= {**place, "reasons": known.reasons}
        return found

    def _person(self, rollout_id: str, do: Callable[[Rollout], Rollout]) -> RolloutView:
        return self._change(rollout_id, lambda rollout: Change(rollout, do(rollout)))

    def _change(self, rollout_id: str, make: Callable[[Rollout], Change]) -> RolloutView:
        for _ in range(_TRIES):
            if self.rollouts.change(make(self.rollouts.get(rollout_id))) == "done":
                return self.show(rollout_id)
        raise ConflictError(f"Rollout {rollout_id} changes all the time.", advice="Try again.")

    def _known(self, rollout: Rollout) -> tuple[dict[str, App], dict[str, AppHealth]]:
        apps, observations = self.rollouts.apps(rollout.id), Observations(self.database)
        return apps, observations.of(apps.keys() & observations.since(0)) if rollout.phase.active else {}

    def _deed(self, reason: str) -> Deed:
        return Deed(self.database.now(), self.actor, reason)


def _planned(name: str, channel: str, freeze: Collection[str]) -> App:
    """An app at the beginning of a rollout of `stable`."""
    if channel != STABLE:
        return App(name, AppState.FROZEN, reasons=(f"it follows the channel {channel}",))
    if {name, name.partition("/")[0]} & {*freeze}:
        return App(name, AppState.FROZEN, reasons=("the rollout leaves it out",))
    return App(name)

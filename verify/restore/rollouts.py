"""Channels, holds and a rollout in mid-wave while a farm is restored: ``python -m verify.restore.rollouts``."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from buildfarm.gc.farm_garbage import FarmGarbage
from buildfarm.releases.rollouts.rules.states import MOVED, AppState, Phase
from testkit.table import Claims
from verify.restore.fleet import HELD, NAMES, Fleet
from verify.restore.services import State, back_up_redis, copy, farm_on, new_state, show

_NO_FACTS = ""  # no node reads files here


@dataclass(frozen=True)
class Hour:
    """Bases, the rollout, and what each app's tag and release were at its end."""

    bases: tuple[str, str, str]
    rollout: str
    images: dict[str, str]
    releases: dict[str, str]


def tables(top: Path) -> list[Claims]:
    """Makes the farm and its copies, and restores it; a table for each of three restores."""
    namespace, (now, copies) = f"restore-{secrets.token_hex(4)}:", (new_state(top), State(top / "rollout-copies"))
    copies.folder.mkdir()
    with farm_on(now, namespace, layer_facts=_NO_FACTS) as farm:
        hour = _made(Fleet(farm), now, copies)
    cases: dict[str, tuple[Callable[[Claims, Fleet, Hour], None], State]] = {
        "Redis lost": (_redis_lost, new_state(top, registry_from=now)),
        "Redis an hour old": (_redis_old, new_state(top, redis_from=copies, registry_from=now)),
        "Registry an hour old": (_registry_old, new_state(top, redis_from=now, registry_from=copies)),
    }
    found = []
    for name, (case, state) in cases.items():
        print(f"\n{name}, in the middle of a rollout", flush=True)
        found.append(claims := Claims(f"{name}, in the middle of a rollout"))
        with farm_on(state, namespace, layer_facts=_NO_FACTS) as farm:
            case(claims, Fleet(farm), hour)
    return found


def _made(fleet: Fleet, now: State, copies: State) -> Hour:
    first, second, third = (fleet.deployed.base(f"2026-01-0{day}T00:00:00Z") for day in (1, 2, 3))
    fleet.farm.promote_builder(first)
    fleet.build(first, NAMES)
    fleet.farm.set_channel("next", third, reason="a trial")
    fleet.hold()
    rollout = fleet.start(second)
    fleet.go_on(rollout, lambda: len(fleet.in_state(rollout, MOVED)) >= 4)
    built = [fleet.in_state(rollout, [state])[0].partition("/")[2] for state in (AppState.HEALTHY, AppState.WAITING)]
    back_up_redis(fleet.farm.database.client, now.redis, copies.redis)
    copy(now.registry, copies.registry)
    fleet.go_on(rollout)
    fleet.build(second, built, code="2")
    return Hour((first, second, third), rollout, fleet.tags(), fleet.releases())


def _redis_lost(claims: Claims, fleet: Fleet, hour: Hour) -> None:
    """An empty Redis, and the registry as it was."""
    farm = fleet.farm
    found = FarmGarbage(farm.history, farm.settings, ()).rebuild()
    lost = not (farm.rollouts() or farm.holds())
    claims.add(
        "rollouts and holds are lost; tags stay",
        f"{len(found.tags)} apps are known again",
        lost and fleet.tags() == hour.images,
    )
    farm.promote_builder(hour.bases[1])
    fleet.hold()
    _next(claims, fleet, hour, {AppState.HEALTHY: len(NAMES) - 1, AppState.HELD: 1})


def _redis_old(claims: Claims, fleet: Fleet, hour: Hour) -> None:
    """Redis as it was in mid-wave, and the registry as it was when all apps had moved."""
    farm, before = fleet.farm, fleet.farm.rollout(hour.rollout)
    kept = before.phase is Phase.WAVE and [one.app for one in farm.holds()] == [fleet.name(HELD)]
    figure = f"{before.phase}, {before.counts.get(AppState.WAITING, 0)} apps waiting"
    claims.add("channel, hold and rollout are as in the copy", figure, kept and "next" in fleet.channels())
    FarmGarbage(farm.history, farm.settings, ()).rebuild()
    fleet.turn(3)
    phase = farm.rollout(hour.rollout).phase
    claims.add(
        "it waits for a person, and no tag moves", f"{phase}", phase is Phase.PAUSED and fleet.tags() == hour.images
    )
    farm.resume_rollout(hour.rollout, "Redis is back")
    done = fleet.go_on(hour.rollout)
    same = sum(fleet.tags()[name] == image for name, image in hour.images.items())
    claims.add(
        "then it goes on to the same images, and undoes no build since",
        f"{done}: {same} of {len(NAMES)}",
        done is Phase.COMPLETE and same == len(NAMES),
    )
    _next(claims, fleet, hour, {AppState.HEALTHY: len(NAMES) - 1, AppState.HELD: 1})


def _registry_old(claims: Claims, fleet: Fleet, hour: Hour) -> None:
    """Redis as it was when all apps had moved, and the registry as it was in mid-wave."""
    farm, tags = fleet.farm, fleet.tags()
    lost = FarmGarbage(farm.history, farm.settings, ()).rebuild().without_image
    changed = {f"apps/{name}" for name, image in hour.images.items() if tags[name] != image}
    claims.add("apps whose image is lost are named", f"{len(lost)} of {len(NAMES)}", bool(lost) and {*lost} == changed)
    _next(
        claims,
        fleet,
        hour,
        {AppState.HEALTHY: len(NAMES) - 1 - len(lost), AppState.HELD: 1, AppState.NOT_MOVABLE: len(lost)},
    )
    stay = sum(fleet.tags()[name.removeprefix("apps/")] == tags[name.removeprefix("apps/")] for name in lost)
    claims.add("it leaves alone those whose image is lost", f"{stay} of {len(lost)}", stay == len(lost))


def _next(claims: Claims, fleet: Fleet, hour: Hour, wanted: dict[AppState, int]) -> None:
    """A rollout to a third base moves what can be moved, each app with its newest code."""
    releases = fleet.releases()
    rollout = fleet.start(hour.bases[2])
    phase = fleet.go_on(rollout)
    counts = fleet.farm.rollout(rollout).counts
    figure = f"{phase}: {', '.join(f'{count} {state}' for state, count in counts.items())}"
    good = phase is Phase.COMPLETE and counts == wanted and fleet.releases() == releases
    claims.add("the next rollout is safe: it moves what it can, with its newest code", figure, good)


def main() -> None:
    """These three tables alone."""
    show(tables)


if __name__ == "__main__":
    main()

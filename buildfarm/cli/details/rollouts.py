"""``buildfarm rollouts``: all apps move to another base in waves, and stop when apps become unhealthy."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import connected_farm, json_option
from buildfarm.errors import ConflictError, RequestError

if TYPE_CHECKING:
    import pydantic

    from buildfarm.client import Client
    from buildfarm.farm import Farm
    from buildfarm.releases.rollouts.rules import parameters, states
    from buildfarm.releases.rollouts.views import RolloutApp, RolloutView
else:
    parameters = LazyModule("buildfarm.releases.rollouts.rules.parameters")
    pydantic = LazyModule("pydantic")
    states = LazyModule("buildfarm.releases.rollouts.rules.states")

_LOOK_SECONDS = 120.0
_PAUSE_SECONDS = 0.3
_WAIT_SECONDS = 4.0
_LISTED_MAX = 50
_WAITS_MAX = 5
_WAITS = ("unchecked", "waiting", "building")
_OUTSIDE = ("not_movable", "held", "frozen", "failed", "reverted")

reason_option = click.option("--reason", default="", help="Why; other people read it later. Required.")


@click.group()
def rollouts() -> None:
    """Move all apps to another base in waves, without builds; or rebuild those that have a component."""


@rollouts.command(short_help="Plan a rollout to BASE, and print which apps can be moved.")
@click.argument("base", metavar="BASE")
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="A parameter, such as soak_seconds=600.")
@click.option("--without-facts", default="", metavar="REASON", help="Also move apps whose files could not be read.")
@json_option
def plan(base: str, values: tuple[str, ...], without_facts: str, as_json: bool) -> None:
    """Plan a rollout to BASE, and print which apps can be moved; nothing moves.

    BASE is repository:tag or repository@digest in the farm's registry. The values of parameters are JSON, such as
    cohorts='["1","10%","100%"]'; text needs no quotes. docs/rollouts.md lists them.
    """
    rules = _parameters([*values, *([f"without_facts={json.dumps(without_facts)}"] if without_facts else [])])
    with connected_farm() as farm:
        _tell(farm, _looked(farm, farm.plan_rollout(base, rules)), as_json)


@rollouts.command(short_help="Rebuild the apps that have a component in their own layers.")
@click.option("--where", required=True, metavar="EXPRESSION", help="The component, such as 'npm/lodash@<4.17.21'.")
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="A parameter, such as soak_seconds=600.")
@click.option("--reason", default="", help="Why; other people read it later.")
@click.option("--dry-run", is_flag=True, help="Print which apps would be rebuilt, and of the others why not.")
@json_option
def rebuild(where: str, values: tuple[str, ...], reason: str, dry_run: bool, as_json: bool) -> None:
    """Rebuild the apps that have a component in their own layers, from their last source, in the waves of a rollout.

    Apps that have it from their base are listed, and not rebuilt: a rollout to another base mends them.
    docs/rollouts.md#rebuild-apps has the rules.
    """
    rules = _parameters(values)
    with connected_farm() as farm:
        planned = _looked(farm, farm.plan_rebuild(where, rules))
        if not dry_run and not planned.checked:
            raise ConflictError(
                f"A node is still looking at the apps of {planned.id}, so it was not started.",
                advice=f"buildfarm rollouts show {planned.id} prints it, and rollouts start {planned.id} starts it.",
            )
        _tell(farm, planned if dry_run else farm.start_rollout(planned.id, reason=reason), as_json)


@rollouts.command()
@click.argument("rollout", metavar="ID")
@click.option("--reason", default="", help="Why; other people read it later.")
@json_option
def start(rollout: str, reason: str, as_json: bool) -> None:
    """Start a planned rollout; one that is under way is superseded."""
    with connected_farm() as farm:
        _tell(farm, farm.start_rollout(rollout, reason=reason), as_json)


@rollouts.command(name="list")
@json_option
def list_rollouts(as_json: bool) -> None:
    """List the newest rollouts."""
    with connected_farm() as farm:
        found = farm.rollouts()
    if as_json:
        click.echo(json.dumps([one.model_dump(mode="json") for one in found]))
        return
    if not found:
        click.echo("There are no rollouts yet: buildfarm rollouts plan BASE makes one.")
    for one in found:
        click.echo(
            f"{one.id:<5} {one.phase:<10} wave {one.wave} of {one.waves or '?'}  {_time(one.since)}"
            f"  {one.rebuilds or one.base}"
        )


@rollouts.command(short_help="Print which apps are to run another image.")
@click.option("--after", default="0", show_default=True, metavar="POSITION", help="Begin after this change; $: now.")
@click.option("--wait", is_flag=True, help="Go on until interrupted.")
@json_option
def changes(after: str, wait: bool, as_json: bool) -> None:
    """Print which apps are to run another image, as orchestrators read it."""
    with connected_farm() as farm:
        while (found := farm.image_changes(after, wait_seconds=_WAIT_SECONDS if wait else 0)) or wait:
            for one in found:
                line = f"{one.position}  {one.app}  {one.image}  {one.reason}"
                click.echo(one.model_dump_json() if as_json else line)
            after = found[-1].position if found else after


@rollouts.command(short_help="Show a rollout: its phase and its apps.")
@click.argument("rollout", metavar="ID")
@json_option
def show(rollout: str, as_json: bool) -> None:
    """Show a rollout: its phase, its apps, and why some of them do not move."""
    with connected_farm() as farm:
        _tell(farm, farm.rollout(rollout), as_json)


@rollouts.command()
@click.argument("rollout", metavar="ID")
@reason_option
@json_option
def pause(rollout: str, reason: str, as_json: bool) -> None:
    """Stop a rollout until it is resumed."""
    with connected_farm() as farm:
        _tell(farm, farm.pause_rollout(rollout, reason), as_json)


@rollouts.command(short_help="Let a paused rollout go on.")
@click.argument("rollout", metavar="ID")
@reason_option
@click.option("--allow", type=click.IntRange(0), default=0, help="So many more apps of the wave may fail.")
@json_option
def resume(rollout: str, reason: str, allow: int, as_json: bool) -> None:
    """Let a paused rollout go on; the times for reports and a soak begin anew."""
    with connected_farm() as farm:
        _tell(farm, farm.resume_rollout(rollout, reason, allow=allow), as_json)


@rollouts.command(short_help="Bring a rollout's apps back to their images before it.")
@click.argument("rollout", metavar="ID")
@reason_option
@json_option
def abort(rollout: str, reason: str, as_json: bool) -> None:
    """Bring a rollout's apps back to the images that they were on before."""
    with connected_farm() as farm:
        _tell(farm, farm.abort_rollout(rollout, reason), as_json)


def _looked(farm: Farm | Client, planned: RolloutView) -> RolloutView:
    """The plan when a node has looked at each app, or as it is after two minutes."""
    until = time.monotonic() + _LOOK_SECONDS
    while not planned.checked and time.monotonic() < until:
        time.sleep(_PAUSE_SECONDS)
        planned = farm.rollout(planned.id)
    return planned


def _parameters(values: Sequence[str]) -> parameters.Parameters:
    found: dict[str, Any] = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not sign:
            raise RequestError(f"{value[:80]!r} is not a parameter.", advice="Write --set NAME=VALUE.")
        try:
            found[name] = json.loads(text)
        except json.JSONDecodeError:
            found[name] = text
    try:
        return parameters.Parameters.model_validate(found)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RequestError(
            f"The parameter {where} is not valid: {first['msg']}.", advice="See docs/rollouts.md."
        ) from error


def _tell(farm: Farm | Client, found: RolloutView, as_json: bool) -> None:
    apps = farm.rollout_apps(found.id, [states.AppState(name) for name in _OUTSIDE + _WAITS])
    outside = [one for one in apps if one.state in _OUTSIDE]
    if as_json:
        shown = [one.model_dump(mode="json") for one in outside]
        click.echo(json.dumps(found.model_dump(mode="json") | {"apps": shown}))
        return
    at = f", wave {found.wave} of {found.waves}" if found.waves else ""
    what = f": {found.goal}" if found.rebuilds else f" of the channel {found.channel} to {found.base}"
    click.echo(f"{found.id}{what}")
    click.echo(f"{found.phase}{at} since {_time(found.since)}, by {found.actor or 'unknown'}: {found.reason}")
    for lacked in found.differences:
        click.echo(f"lacks  {lacked}")
    if not found.checked:
        click.echo(f"A node is still looking at the apps: buildfarm rollouts show {found.id} prints it.")
    if found.next:
        click.echo(f"next   {found.next}")
    _tell_waits([one for one in apps if one.state in _WAITS])
    click.echo("apps   " + ", ".join(f"{count} {state}" for state, count in found.counts.items()))
    if found.gate:
        gate = found.gate
        click.echo(
            f"gate   {gate.failures} failed, {gate.pending} not reported yet, {gate.budget} allowed;"
            f" {gate.reported} of {gate.running} running apps of the wave reported"
        )
    _tell_apps(outside)
    if found.phase == "planned" and found.checked:
        click.echo(f"buildfarm rollouts start {found.id} starts it.")


def _tell_waits(apps: Sequence[RolloutApp]) -> None:
    waits = Counter(reason for one in apps for reason in one.reasons)
    for reason, count in waits.most_common(_WAITS_MAX):
        click.echo(f"waits  {count} apps: {reason}")


def _tell_apps(outside: Sequence[RolloutApp]) -> None:
    for one in outside[:_LISTED_MAX]:
        click.echo(f"{one.state:<12} {one.app}  {'; '.join(one.reasons)}")
    if len(outside) > _LISTED_MAX:
        click.echo(f"… and {len(outside) - _LISTED_MAX} more: --json has all of them.")


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

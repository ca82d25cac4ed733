"""``buildfarm apps``: an app's newest image, its channel, moves to another base, and holds."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import connected_farm, json_option
from buildfarm.errors import RequestError
from buildfarm.fields import NAME_PATTERN

if TYPE_CHECKING:
    from buildfarm.releases.rollouts.rules import reports
else:
    reports = LazyModule("buildfarm.releases.rollouts.rules.reports")


@click.group()
def apps() -> None:
    """Show an app's image and its base, choose its channel, move the image to another base, or hold it."""


@apps.command(short_help="Show an app's image, its base, and its newest moves.")
@click.argument("app", metavar="TENANT/APP")
@json_option
def show(app: str, as_json: bool) -> None:
    """Show an app's newest image, its base, and its newest moves to other bases."""
    tenant, name = _parts(app)
    with connected_farm() as farm:
        found = farm.app_image(tenant, name)
    if as_json:
        click.echo(found.model_dump_json())
        return
    note = "" if found.is_current else " (builds use another one now)"
    click.echo(f"image    {found.image}\nbase     {found.base or 'not known'}{note}\nchannel  {found.channel}")
    if not found.release:
        click.echo("It has no release: build the app again before it can be moved to another base.")
    for reason in found.reasons:
        click.echo(f"rollout  {found.rollout} does not move it: {reason}")
    for one in found.rebases:
        click.echo(f"{_time(one.at)}  moved from {one.previous_base or 'another base'} to {one.base}")


@apps.command()
@click.argument("app", metavar="TENANT/APP")
@click.option("--to", "base", default="", metavar="BASE", help="The new base. Default: that of the app's channel.")
@click.option("--older", is_flag=True, help="Allow a base that was made before the app's.")
@click.option("--dry-run", is_flag=True, help="Only print what would be done, or why it cannot be.")
@json_option
def rebase(app: str, base: str, older: bool, dry_run: bool, as_json: bool) -> None:
    """Put an app's newest image on another base without a build.

    BASE is repository:tag or repository@digest in the farm's registry, or a digest in the builder's repository. The
    app's own layers stay as they are: only the image's config and manifest are written, and the tag moves. Running
    processes keep the old image until they are started again.
    """
    tenant, name = _parts(app)
    with connected_farm() as farm:
        done = farm.rebase(tenant, name, base=base, dry_run=dry_run, older=older)
    if as_json:
        click.echo(json.dumps(done.model_dump(mode="json") | {"dry_run": dry_run}))
    elif done.image == done.previous:
        click.echo(f"{app} is on {done.base} already.")
    else:
        click.echo(f"{app} {'would move' if dry_run else 'has moved'} to {done.base}.\n{done.image}")
        if done.unchecked:
            click.echo(f"It is not known whether its programs find all libraries there: {done.unchecked}.")


@apps.command()
@click.argument("app", metavar="TENANT/APP")
@click.option("--reason", default="", help="Why; other people read it later. Required.")
@click.option("--days", type=float, default=7.0, show_default=True, help="For how long.")
@json_option
def hold(app: str, reason: str, days: float, as_json: bool) -> None:
    """Keep an app on its base, whatever rollouts there are."""
    tenant, name = _parts(app)
    with connected_farm() as farm:
        done = farm.hold_app(tenant, name, reason, days=days)
    click.echo(done.model_dump_json() if as_json else f"{app} is held until {_time(done.until)}.")


@apps.command()
@click.argument("app", metavar="TENANT/APP")
def release(app: str) -> None:
    """End a hold: rollouts move the app again."""
    tenant, name = _parts(app)
    with connected_farm() as farm:
        farm.release_app(tenant, name)
    click.echo(f"{app} is not held.")


@apps.command()
@json_option
def holds(as_json: bool) -> None:
    """List the apps that people keep on their bases."""
    with connected_farm() as farm:
        found = farm.holds()
    if as_json:
        click.echo(json.dumps([one.model_dump(mode="json") for one in found]))
        return
    for one in found:
        click.echo(f"{one.app}  until {_time(one.until)}, by {one.actor}: {one.reason}")


@apps.command()
@click.argument("app", metavar="TENANT/APP")
@click.argument("image", metavar="DIGEST")
@click.option("--status", type=click.Choice(["healthy", "unhealthy", "stopped"]), required=True)
@click.option("--reporter", default="operator", show_default=True, help="Whose newest report counts.")
def health(app: str, image: str, status: str, reporter: str) -> None:
    """Report how an app is on an image, as an orchestrator does."""
    tenant, name = _parts(app)
    report = reports.HealthReport(
        tenant=tenant, app=name, status=reports.Status(status), observed_at=time.time(), reporter=reporter
    )
    with connected_farm() as farm:
        taken = farm.report_health(image, report)
    click.echo(f"{app} is {status}." if taken else "A newer report is known.")


@apps.command()
@click.argument("app", metavar="TENANT/APP")
@click.argument("name", required=False, metavar="[NAME]")
@json_option
def channel(app: str, name: str | None, as_json: bool) -> None:
    """Show the channel that an app follows, or choose the channel NAME.

    The app's builds stand on its base from the next one on; buildfarm apps rebase moves the newest image at once.
    """
    tenant, app_name = _parts(app)
    with connected_farm() as farm:
        found = farm.set_app_channel(tenant, app_name, name) if name else farm.app_channel(tenant, app_name)
    if as_json:
        click.echo(found.model_dump_json())
        return
    chosen = ", which a rollout has chosen" if found.by_rollout else ""
    click.echo(f"{app} follows {found.channel}. Its next build stands on {found.base or 'no base yet'}{chosen}.")


@apps.command()
@click.argument("app", metavar="TENANT/APP")
@click.argument("name", required=False, metavar="[NAME]")
@json_option
def size(app: str, name: str | None, as_json: bool) -> None:
    """Show the size of an app's builds, or choose another."""
    tenant, app_name = _parts(app)
    with connected_farm() as farm:
        found = farm.set_app_size(tenant, app_name, name) if name else farm.app_size(tenant, app_name)
    click.echo(json.dumps({"size": found}) if as_json else f"Builds of {app} have the size {found}.")


def _parts(app: str) -> tuple[str, str]:
    tenant, slash, name = app.partition("/")
    if not slash or not all(re.fullmatch(NAME_PATTERN, part) for part in (tenant, name)):
        advice = "Write TENANT/APP, in lower-case letters, digits and dashes."
        raise RequestError(f"{app[:80]!r} is not an app.", advice=advice)
    return tenant, name


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

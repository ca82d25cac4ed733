"""``buildfarm apps``: an app's newest image, shown and moved to another base."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import click

from buildfarm.cli.error_handler import connected_farm, json_option
from buildfarm.errors import RequestError
from buildfarm.fields import NAME_PATTERN


@click.group()
def apps() -> None:
    """Show an app's image and its base, or move the image to another base."""


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
    click.echo(f"image  {found.image}")
    note = "" if found.is_current else " (builds use another one now)"
    click.echo(f"base   {found.base or 'not known'}{note}")
    if not found.release:
        click.echo("It has no release: build the app again before it can be moved to another base.")
    for one in found.rebases:
        at = datetime.fromtimestamp(one.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        click.echo(f"{at}  moved from {one.previous_base or 'another base'} to {one.base}")


@apps.command()
@click.argument("app", metavar="TENANT/APP")
@click.option("--to", "base", default="", metavar="BASE", help="The new base. Default: the promoted builder.")
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


def _parts(app: str) -> tuple[str, str]:
    tenant, slash, name = app.partition("/")
    if not slash or not all(re.fullmatch(NAME_PATTERN, part) for part in (tenant, name)):
        advice = "Write TENANT/APP, in lower-case letters, digits and dashes."
        raise RequestError(f"{app[:80]!r} is not an app.", advice=advice)
    return tenant, name

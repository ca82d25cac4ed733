"""``buildfarm sbom|where``: what is in images, and which apps contain a component."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import click

from buildfarm.cli.error_handler import connected_farm, json_option
from buildfarm.cli.show import table, terminal
from buildfarm.errors import NotReadYetError

if TYPE_CHECKING:
    from buildfarm.releases.facts.components.models import Places

T = TypeVar("T")

_WAIT_SECONDS = 900.0

image_argument = click.argument("image")
with_base_option = click.option("--with-base", is_flag=True, help="Also what the base of the image contains.")


@click.command()
@image_argument
@click.option(
    "--format", "form", type=click.Choice(["cyclonedx", "spdx"]), default="cyclonedx", show_default=True,
    help="CycloneDX 1.6 or SPDX 2.3, both as JSON.",
)  # fmt: skip
@with_base_option
def sbom(image: str, form: str, with_base: bool) -> None:
    """Print the bill of materials of IMAGE.

    IMAGE is TENANT/APP for an app's newest image, TENANT/APP@DIGEST, the id of a build, or REPOSITORY:TAG of a base.
    The command waits until a node has read the layers of the image.
    """
    with connected_farm() as farm:
        content = when_read(lambda: farm.sbom(image, form=form, with_base=with_base))
    click.echo(content.decode(), nl=False)


@click.command()
@click.argument("expression")
@click.option("--apps", "only_apps", is_flag=True, help="Print only the apps, one per line, for scripts.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 10_000))
@json_option
def where(expression: str, only_apps: bool, limit: int, as_json: bool) -> None:
    """List the apps whose newest images contain a component.

    EXPRESSION is KIND/NAME, or KIND/NAME@CONDITIONS: 'npm/lodash@<4.17.21', 'pypi/django@>=4,<4.2.8', 'deb/openssl'.
    Quote it, since < and > mean something to a shell.
    """
    with connected_farm() as farm:
        found = farm.where(expression, limit=limit)
    if as_json:
        click.echo(found.model_dump_json())
        return
    if only_apps:
        click.echo("".join(f"{app}\n" for app in dict.fromkeys(place.app for place in found.places)), nl=False)
    else:
        _show_places(found)
        click.echo(f"{found.apps:,} of {found.searched:,} apps have it.")
    if not all(place.is_compared for place in found.places):
        which = f"of {found.uncompared_apps:,} of these apps" if only_apps else "with a question mark"
        click.echo(f"Versions {which} cannot be compared, so these may not match.", err=True)
    if found.incomplete_apps:
        named = ", ".join(found.incomplete[:5]) + (" …" if found.incomplete_apps > 5 else "")
        click.echo(f"With files whose components are not known: {found.incomplete_apps:,} apps ({named}).", err=True)
    if found.unknown_apps:
        named = ", ".join(found.unknown[:5]) + (" …" if found.unknown_apps > 5 else "")
        click.echo(f"Not read yet, so not wholly searched: {found.unknown_apps:,} apps ({named}).", err=True)


def _show_places(found: Places) -> None:
    rows = table("APP", "VERSION", "SINCE", "IN", "FILE")
    for place in found.places:
        version = place.version if place.is_compared else f"{place.version}?"
        rows.add_row(place.app, version, _day(place.since), "base" if place.in_base else "app", place.path)
    if found.places:
        terminal().print(rows)


def when_read(call: Callable[[], T]) -> T:
    """What the call returns, once nodes have read what it needs. Raises NotReadYetError after a quarter of an hour."""
    until, told = time.monotonic() + _WAIT_SECONDS, ""
    while True:
        try:
            return call()
        except NotReadYetError as error:
            if time.monotonic() + error.retry_after_seconds > until:
                raise
            if error.message != told:
                told = error.message
                click.echo(f"{told} Waiting for a node to read them.", err=True)
        time.sleep(2.0)


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d") if at else ""

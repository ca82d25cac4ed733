"""``buildfarm compare``: what differs between two builds."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import connected_farm, json_option

if TYPE_CHECKING:
    from buildfarm.api.page.comparing import compare as comparing
    from buildfarm.api.page.comparing import packages
else:
    comparing = LazyModule("buildfarm.api.page.comparing.compare")
    packages = LazyModule("buildfarm.api.page.comparing.packages")


@click.command()
@click.argument("before")
@click.argument("after")
@json_option
def compare(before: str, after: str, as_json: bool) -> None:
    """Show what differs between the builds BEFORE and AFTER: times, source, buildpacks, packages and layers."""
    with connected_farm() as farm:
        builds = farm.get(before), farm.get(after)
        found = comparing.compare(*builds, [packages.packages_of(farm, build) for build in builds])
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found)))
        return
    click.echo("\n".join(lines_of(found)))


def lines_of(found: comparing.Comparison) -> list[str]:
    """The sentences, and a table of what changed, with a line for each row."""
    rows = [(row.name, row.before, row.after, row.change) for part in found.tables for row in part.rows if row.change]
    table = [("", "before", "after", "change"), *rows] if rows else []
    widths = [max(len(row[column]) for row in table) for column in range(4)] if table else []
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return [*found.sentences, *([""] if lines else []), *lines]

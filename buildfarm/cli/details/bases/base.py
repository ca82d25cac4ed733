"""``buildfarm base``: how current a base is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.details.components import when_read
from buildfarm.cli.error_handler import connected_farm, json_option
from buildfarm.errors import RequestError

if TYPE_CHECKING:
    from buildfarm.releases.facts.components import suite
else:
    suite = LazyModule("buildfarm.releases.facts.components.suite")


@click.group()
def base() -> None:
    """Show how current the images are that apps stand on."""


@base.command(short_help="List the packages of a base that are behind a suite.")
@click.argument("image", default="")
@click.option(
    "--packages", "path", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The suite's index for the base's architecture: a file Packages, also as .gz or .xz.",
)  # fmt: skip
@json_option
def status(image: str, path: Path, as_json: bool) -> None:
    """List the packages of a base that are behind a suite, such as the distribution's security suite.

    IMAGE is REPOSITORY:TAG or REPOSITORY@DIGEST; without one it is the base of the channel stable.
    """
    try:
        index = suite.index_text(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} cannot be read: {error}.", advice="Name the suite's file Packages.") from error
    with connected_farm() as farm:
        name = image or farm.builder()
        if not name:
            raise RequestError("The farm has no builder yet.", advice="buildfarm builder promote sets it.")
        contents = when_read(lambda: farm.contents(name))
    found = suite.behind(contents.components, index)
    if as_json:
        click.echo(json.dumps({"base": contents.image, "behind": [dataclasses.asdict(one) for one in found]}))
        return
    for one in found:
        click.echo(f"{one.package}  {one.installed} → {one.newest}  (source {one.source.partition('@')[0]})")
    packages = sum(one.kind == "deb" for one in contents.components)
    click.echo(f"{len(found):,} of {packages:,} packages of {contents.image} are behind.")

"""``buildfarm rollback``: an app's tag, back at an earlier image."""

from __future__ import annotations

import json

import click

from buildfarm.cli.error_handler import connected_farm, json_option


@click.command()
@click.argument("build_id")
@click.option("--seen", metavar="DIGEST", default="", help="Only if the tag points to this image (sha256:…) now.")
@json_option
def rollback(build_id: str, seen: str, as_json: bool) -> None:
    """Point the app's tag at the image of an earlier build, until a newer build publishes its own.

    Running processes do not change: whatever deploys the tag must deploy it again.
    """
    with connected_farm() as farm:
        moved = farm.roll_back(build_id, seen=seen)
        if as_json:
            click.echo(json.dumps(moved.model_dump(mode="json")))
            return
        image = farm.image(farm.get(build_id))
    if moved.unsigned:
        click.echo(f"{moved.tag} will point to {image} once the signer has signed it. If it refuses, the tag stays.")
        return
    was = f"; before it was {moved.before[:19]}" if moved.before not in ("", str(moved.digest)) else ""
    click.echo(f"{moved.tag} points to {image}{was}.")

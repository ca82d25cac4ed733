"""``buildfarm open``: the farm's page, or that of a build, in this machine's browser."""

from __future__ import annotations

import json
import re
import webbrowser

import click

from buildfarm.cli.error_handler import json_option
from buildfarm.settings import read_settings


@click.command(name="open")
@click.argument("build_id", required=False)
@json_option
def open_page(build_id: str | None, as_json: bool) -> None:
    """Open the farm's page, or that of a build, in a browser; and print the address.

    With --json only the address is printed.
    """
    if build_id is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", build_id):
        raise click.UsageError(f"{build_id!r} is not a build's id; `buildfarm list` shows them.")
    settings = read_settings()
    farm = settings.url.rstrip("/") or f"http://{settings.api_host}:{settings.api_port}"
    address = f"{farm}/builds/{build_id}" if build_id else f"{farm}/"
    if as_json:
        click.echo(json.dumps({"url": address}))
        return
    click.echo(address)
    if not webbrowser.open(address):
        click.echo("There is no browser here: open this address where there is one.", err=True)

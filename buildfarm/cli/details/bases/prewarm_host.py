"""``buildfarm prewarm-host``: a host that runs apps gets new bases before its apps move to them."""

from __future__ import annotations

import dataclasses
import json
import signal
import socket
import sys
import time

import click

from buildfarm.cli.details.bases.host import Host, Look
from buildfarm.cli.details.bases.image_engine import ENGINES
from buildfarm.cli.error_handler import connected_farm, json_option
from buildfarm.errors import BuildfarmError, NodeError, QueueFullError, RequestError, SetupError


@click.command(name="prewarm-host")
@click.option("--engine", type=click.Choice(tuple(ENGINES)), default="docker", show_default=True, help="The command.")
@click.option("--registry", metavar="HOST", default="", help="The registry as this host reaches it.")
@click.option("--name", metavar="NAME", default="", help="The host's name in reports. Default: its host name.")
@click.option(
    "--every", "seconds", type=click.FloatRange(1, 600), default=60, show_default=True, help="Seconds between looks."
)
@click.option("--once", is_flag=True, help="Look once. Ends with 4 if a base could not be pulled.")
@click.option("--remove", is_flag=True, help="Also remove bases that no channel or rollout names now.")
@json_option
def prewarm_host(
    *, engine: str, registry: str, name: str, seconds: float, once: bool, remove: bool, as_json: bool
) -> None:
    """Keep the bases of channels and rollouts on a host that runs apps, and report which it has.

    Run it on each host with a container engine. A token with the scope read, for all tenants, is enough. It goes on if
    the farm or the registry cannot be reached, and tries again at the next look.
    """
    # The first process of a container gets no default handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host = Host(name or socket.gethostname(), ENGINES[engine], registry, remove)
    with connected_farm() as farm:
        if once:
            found = host.look(farm)
            _show(found, as_json=as_json, always=True)
            if found.failed:
                raise NodeError(f"{len(found.failed)} of the pulls and reports failed. {found.failed[0]}")
            return
        while True:
            pause = seconds
            try:
                _show(host.look(farm), as_json=as_json)
            except QueueFullError as error:  # all hosts together have called too often
                click.echo(f"{error.code}: {error.message}", err=True)
                pause = max(seconds, error.retry_after_seconds)
            except (RequestError, SetupError):
                raise  # it would be refused again
            except BuildfarmError as error:
                click.echo(f"{error.code}: {error.message}", err=True)
            time.sleep(pause)


def _show(found: Look, *, as_json: bool, always: bool = False) -> None:
    """What has changed; with ``always`` what is ready too."""
    if as_json:
        if always or found.pulled or found.failed or found.removed:
            click.echo(json.dumps(dataclasses.asdict(found)))
        return
    for base in found.ready if always else found.pulled:
        click.echo(f"ready    {base}")
    for base in found.removed:
        click.echo(f"removed  {base}")
    for sentence in found.failed:
        click.echo(f"failed   {sentence}", err=True)

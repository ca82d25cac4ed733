"""``buildfarm up|down|status|doctor|run``: what happens on this machine; `python -m localfarm` looks after the farm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import json_option
from buildfarm.cli.extras import require_local
from buildfarm.errors import SetupError

if TYPE_CHECKING:
    from buildfarm.cli.details import verify as verifying
else:  # only `run --verify` reads signatures
    verifying = LazyModule("buildfarm.cli.details.verify")

_PORT = 8080


@click.command()
@click.option("--worker/--no-worker", default=True, help="Also start a build node.")
@click.option("--downloads/--no-downloads", default=None, help="A cache of packages for builds, or none from now on.")
@click.option("--redis-port", type=click.IntRange(1, 65535), help="Port of Redis on the loopback address.")
@click.option("--registry-port", type=click.IntRange(1, 65535), help="Port of the registry on the loopback address.")
@json_option
def up(worker: bool, downloads: bool | None, redis_port: int | None, registry_port: int | None, as_json: bool) -> None:
    """Bring the farm up: engine, Redis, registry, builder image and one build node."""
    arguments = ["up", "--worker" if worker else "--no-worker"]
    if downloads is not None:
        arguments.append("--downloads" if downloads else "--no-downloads")
    for name, port in (("--redis-port", redis_port), ("--registry-port", registry_port)):
        arguments += [name, str(port)] if port else []
    _run(arguments, as_json)


@click.command()
@click.option("--purge", is_flag=True, help="Also delete what the farm stored: builds, images, caches.")
@click.option("--now", is_flag=True, help="Do not wait for running builds; they are built again after the next up.")
@json_option
def down(purge: bool, now: bool, as_json: bool) -> None:
    """Take the farm down; running builds end first."""
    _run(["down", *(["--purge"] if purge else []), *(["--now"] if now else [])], as_json)


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show which parts of the farm run. Ends with 4 if one is down."""
    _run(["status"], as_json)


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check what this machine lacks for `up`, and change nothing. Ends with 3 if something is missing."""
    _run(["doctor"], as_json)


def _run(arguments: list[str], as_json: bool) -> None:
    # A separate process, because the library knows no Docker: orchestrators install it without the nodes' part.
    require_local()
    command = [sys.executable, "-m", "localfarm", *arguments, *(["--json"] if as_json else [])]
    sys.exit(subprocess.run(command, check=False).returncode)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--port", type=click.IntRange(1, 65535), help="Loopback port to use. Default for web: 8080, else none.")
@click.option("--env", "variables", metavar="KEY=VALUE", multiple=True, help="A variable; can be repeated.")
@click.option("--verify", is_flag=True, help="Run it only if the farm has signed it, by the digest that was checked.")
@click.option("--json", "_as_json", is_flag=True, help="Print errors as JSON; the output is the app's own.")
def run(
    image: str,
    command: tuple[str, ...],
    port: int | None,
    variables: tuple[str, ...],
    verify: bool,
    _as_json: bool,
) -> None:
    """Run IMAGE; COMMAND is a process type (default: web) or any command in the image.

    Write -- before COMMAND if it has options with the names of these.
    """
    docker = shutil.which("docker")
    if docker is None:
        raise SetupError(
            "The command docker is not installed here.", advice="Run the image with any engine: it is an OCI image."
        )
    if verify:
        image, _, _ = verifying.verified(image)
    # A one-off container is asked for beside one that serves: it takes no port unless one is named.
    if port is None and command[:1] in ((), ("web",)):
        port = _PORT
    arguments = ["run", "--rm", "--init", "--interactive"]
    if port is not None:
        arguments += ["--publish", f"127.0.0.1:{port}:{_PORT}"]
    if sys.stdin.isatty():
        arguments += ["--tty"]
    for pair in variables:
        arguments += ["--env", pair]
    os.execv(docker, [docker, *arguments, image, *command])

"""``buildfarm run``: an image's process on this machine's Docker engine."""

from __future__ import annotations

import os
import shutil
import sys

import click

from buildfarm.errors import SetupError

_PORT = 8080


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--port", type=click.IntRange(1, 65535), help="Loopback port to use. Default for web: 8080, else none.")
@click.option("--env", "variables", metavar="KEY=VALUE", multiple=True, help="A variable; can be repeated.")
@click.option("--json", "_as_json", is_flag=True, help="Print errors as JSON; the output is the app's own.")
def run(image: str, command: tuple[str, ...], port: int | None, variables: tuple[str, ...], _as_json: bool) -> None:
    """Run IMAGE; COMMAND is a process type (default: web) or any command in the image."""
    docker = shutil.which("docker")
    if docker is None:
        raise SetupError(
            "The command docker is not installed here.", advice="Run the image with any engine: it is an OCI image."
        )
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

"""``buildfarm up|down|status``: the whole farm on this machine, which `python -m localfarm` looks after."""

from __future__ import annotations

import subprocess
import sys

import click

from buildfarm.cli.error_handler import json_option
from buildfarm.cli.extras import require_local


@click.command()
@click.option("--worker/--no-worker", default=True, help="Also start a build node.")
@click.option("--redis-port", type=click.IntRange(1, 65535), help="Port of Redis on the loopback address.")
@click.option("--registry-port", type=click.IntRange(1, 65535), help="Port of the registry on the loopback address.")
@json_option
def up(worker: bool, redis_port: int | None, registry_port: int | None, as_json: bool) -> None:
    """Bring the farm up: engine, Redis, registry, builder image and one build node."""
    arguments = ["up", "--worker" if worker else "--no-worker"]
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
    """Say which parts of the farm run. Ends with 4 if one is down."""
    _run(["status"], as_json)


def _run(arguments: list[str], as_json: bool) -> None:
    # A separate process, because the library knows no Docker: orchestrators install it without the nodes' part.
    require_local()
    command = [sys.executable, "-m", "localfarm", *arguments, *(["--json"] if as_json else [])]
    sys.exit(subprocess.run(command, check=False).returncode)

"""``python -m localfarm up|down|status|doctor|registry-files``: what ``buildfarm up|down|status|doctor|gc`` calls."""

from __future__ import annotations

import dataclasses
import json
import sys

import click
from docker.errors import DockerException
from requests.exceptions import RequestException

from buildfarm.cli.error_handler import Exit, FarmGroup, tell
from buildfarm.errors import SetupError
from buildfarm.settings import read_settings
from buildfarm.telemetry import set_up_logging
from localfarm import farm
from localfarm.doctor.examine import examine
from localfarm.doctor.finding import Level

json_option = click.option("--json", "as_json", is_flag=True)
_COLOURS = {Level.OK: "green", Level.NOTICE: "yellow", Level.MISSING: "red"}


@click.group(cls=FarmGroup)
def main() -> None:
    """The whole farm on this machine."""
    set_up_logging(read_settings())


@main.command()
@click.option("--worker/--no-worker", default=True)
@click.option("--downloads/--no-downloads", default=None)
@click.option("--redis-port", type=int)
@click.option("--registry-port", type=int)
@json_option
def up(worker: bool, downloads: bool | None, redis_port: int | None, registry_port: int | None, as_json: bool) -> None:
    """Brings the farm up."""
    wanted = farm.Wanted(worker, downloads, redis_port, registry_port)
    state = farm.up(read_settings().state_directory, wanted, say=_say)
    if as_json:
        click.echo(
            json.dumps({"redis": state.redis_address, "registry": state.registry_address, "builder": state.builder})
        )
    else:
        click.echo(f"The farm is up: redis {state.redis_address}, registry {state.registry_address}")


@main.command()
@click.option("--purge", is_flag=True)
@click.option("--now", is_flag=True)
@json_option
def down(purge: bool, now: bool, as_json: bool) -> None:
    """Takes the farm down."""
    gone = farm.down(read_settings().state_directory, purge=purge, now=now, say=_say)
    click.echo(json.dumps({"removed": gone}) if as_json else f"Removed: {', '.join(gone) or 'nothing'}")


@main.command()
@json_option
def status(as_json: bool) -> None:
    """Says which parts run."""
    parts = farm.status(read_settings().state_directory)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(part) for part in parts]))
    else:
        for part in parts:
            click.secho(f"{part.name:<10}{'up' if part.up else 'down':<6}", nl=False, fg="green" if part.up else "red")
            click.echo(part.detail)
    sys.exit(0 if all(part.up for part in parts) else Exit.FARM_FAULT)


@main.command()
@json_option
def doctor(as_json: bool) -> None:
    """Says what this machine lacks."""
    found = examine(read_settings())
    lacking = sum(finding.level is Level.MISSING for finding in found)
    if as_json:
        click.echo(json.dumps({"ok": not lacking, "findings": [dataclasses.asdict(finding) for finding in found]}))
    else:
        for finding in found:
            click.secho(f"{finding.level:<9}", nl=False, fg=_COLOURS[finding.level])
            click.echo(f"{finding.check:<14}{finding.detail}")
            if finding.advice:
                click.echo(f"{'':<23}{finding.advice}")
        click.echo(f"Missing: {lacking}." if lacking else "Nothing is missing.")
    sys.exit(Exit.SETUP if lacking else 0)


@main.command()
def registry_files() -> None:
    """Prints the folder with the files of the farm's registry, or nothing if it is not the local farm's."""
    click.echo(farm.registry_folder(read_settings().state_directory) or "")


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _run() -> None:
    try:
        main()
    except (DockerException, RequestException) as error:
        advice = "Correct what it names, then run the same command again."
        tell(SetupError(f"The Docker engine refused the request: {error}", advice=advice))
        sys.exit(Exit.SETUP)


if __name__ == "__main__":
    _run()

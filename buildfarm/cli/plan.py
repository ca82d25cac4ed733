"""``buildfarm plan``: what a build of a directory would do and why, told by the buildpacks in a sandbox."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from buildfarm.buildpacks.address import BundledBuildpack, parse_buildpack
from buildfarm.buildpacks.unclaimed import unclaimed
from buildfarm.cli.build import read_variables
from buildfarm.cli.error_handler import Exit, inside_farm, json_option
from buildfarm.cli.show import terminal
from buildfarm.errors import DetectError, RequestError, SetupError
from buildfarm.settings import read_settings
from buildfarm.sources.choice import choose
from buildfarm.sources.packing import packed

_NONE_TAKES = 100
_REFUSED = (101, 102)
_SECONDS = 120
_TAIL = 500

# No network, no right that a build would not have, and nothing of this machine.
_SANDBOX = (
    "--rm", "--interactive", "--network=none", "--user=1000:1000", "--cap-drop=ALL", "--security-opt=no-new-privileges",
    "--memory=2g", "--pids-limit=512", "--tmpfs=/app:uid=1000,gid=1000,exec", "--entrypoint=/usr/lib/buildfarm/plan",
)  # fmt: skip

Plan = dict[str, Any]


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--buildpack", "buildpacks", multiple=True, help="One of the builder's own; can be repeated.")
@click.option("--env", "variables", metavar="KEY=VALUE", multiple=True, help="A config var; can be repeated.")
@click.option("--builder", help="A builder image that this machine's engine knows. Default: the farm's.")
@json_option
def plan(
    directory: Path, buildpacks: tuple[str, ...], variables: tuple[str, ...], builder: str | None, as_json: bool
) -> None:
    """Show what a build of DIRECTORY would do and why, without building it."""
    asked = [*(["--all"] if buildpacks else []), *buildpacks]
    if builder is None:
        with inside_farm() as farm:
            builder = f"{farm.registry.host}/{farm.builder()}"
            asked = asked or list(farm.buildpacks())
    _check_bundled(name for name in asked if name != "--all")
    made = plan_of(builder, directory, asked, read_variables(variables))
    if as_json:
        click.echo(json.dumps(made))
    else:
        show_plan(terminal(), made)
    sys.exit(Exit.APP_FAULT if made["problems"] else Exit.DONE)


def plan_of(image: str, directory: Path, asked: Sequence[str], variables: Mapping[str, str]) -> Plan:
    """The plan of the buildpacks in this builder image. Raises DetectError, SourceError, TooLargeError, SetupError."""
    settings = read_settings()
    ended = _run(image, asked, json.dumps(dict(variables)).encode() + b"\n", directory, settings.source_bytes)
    if ended.returncode == _NONE_TAKES:
        order = [name for name in asked if name != "--all"]
        raise unclaimed(list(choose(directory, settings.source_bytes).names), order)
    told = ended.stdout.decode(errors="replace")
    if ended.returncode in _REFUSED:
        refusals = [line[2:] for line in told.splitlines() if line.startswith("!\t")]
        raise DetectError(refusals[-1] if refusals else "A requested buildpack cannot be used.")
    if ended.returncode != 0:
        said = ended.stderr.decode(errors="replace")[-_TAIL:].strip()
        raise SetupError(
            f"The plan cannot be made: {said}", advice="`buildfarm status` reports whether the farm is up."
        )
    made: Plan = json.loads(told)
    made["processes"] = _processes(made.pop("defaults"), made.pop("procfile"), whole=settings.profile == "scalingo")
    return made


def _run(
    image: str, asked: Sequence[str], head: bytes, directory: Path, limit_bytes: int
) -> subprocess.CompletedProcess[bytes]:
    docker = shutil.which("docker")
    if docker is None:
        raise SetupError(
            "The command docker is not installed here.", advice="A plan is made in a container of the builder."
        )
    _, stream = packed(directory, limit_bytes)
    with stream() as archive:
        source = b"".join(archive)
    command = [docker, "run", "--quiet", *_SANDBOX, image, *asked]
    try:
        return subprocess.run(command, input=head + source, capture_output=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise DetectError(f"The buildpacks made no plan within {_SECONDS} s.") from error


def _check_bundled(names: Iterator[str]) -> None:
    for name in names:
        try:
            bundled = isinstance(parse_buildpack(name), BundledBuildpack)
        except ValueError as error:
            raise RequestError(f"{error}.") from error
        if not bundled:
            raise RequestError(
                f"A plan fetches nothing, and {name} is not one of the builder's own buildpacks.",
                advice="Name one of those by --buildpack, or build the app.",
            )


def _processes(defaults: dict[str, str], procfile: dict[str, str], *, whole: bool) -> dict[str, str]:
    return procfile if procfile and whole else {**defaults, **procfile}


def show_plan(console: Console, made: Plan) -> None:
    """A plan as lines for people."""
    for one in made["buildpacks"]:
        _line(console, "buildpack", f"{one['buildpack']}{_because(one)}")
        for part in ("language", "manager"):
            if found := one.get(part):
                words = f"{found.get('name', '')} {found.get('version') or ''}".strip()
                _line(console, part, f"{words} ({found.get('because', 'the default')})")
        for step in one.get("steps", ()):
            _line(console, "step", step)
        for warning in one.get("warnings", ()):
            _line(console, "warning", warning, "yellow")
    if made.get("start_from"):
        _line(console, "start", f"that of {made['start_from']}, as there is no Procfile")
    for name, command in made["processes"].items():
        _line(console, "process", f"{name}: {command}")
    for problem in made["problems"]:
        _line(console, "problem", problem, "red")
    planned = all("processes" in one for one in made["buildpacks"])
    if planned and not made["processes"] and not made["problems"]:
        _line(console, "warning", "Nothing says how to start this app: add a Procfile with `web: COMMAND`.", "yellow")


def _because(one: Mapping[str, Any]) -> str:
    found, because = ", ".join(one.get("found", ())), str(one.get("because", ""))
    words = [f"found {found}" if found else "", because if because != f"found {found}" else ""]
    told = "; ".join(word for word in words if word)
    return f" ({told})" if told else ""


def _line(console: Console, name: str, value: str, style: str = "") -> None:
    console.print(Text.assemble(f"{name:<11}", (value, style)), soft_wrap=True)

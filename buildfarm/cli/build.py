"""``buildfarm build``: a source in, an image out, with the log as it comes."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.buildpacks import pinned
from buildfarm.cli.builds import details_of
from buildfarm.cli.error_handler import Exit, connected_farm, json_option
from buildfarm.errors import BUILD_ERRORS, AppError, RequestError

if TYPE_CHECKING:
    import pydantic
    from rich.console import Console

    from buildfarm import client as over_http
    from buildfarm import config_vars, events, fields, model
    from buildfarm.cli import refusals
    from buildfarm.cli import show as display
    from buildfarm.cli.details import progress as progress_line
    from buildfarm.client import Client
    from buildfarm.farm import Farm
    from buildfarm.model import Build
    from buildfarm.sources import address
    from buildfarm.sources.address import Source
    from buildfarm.sources.choice import Choice
    from buildfarm.telemetry import units
else:
    units = LazyModule("buildfarm.telemetry.units")
    pydantic = LazyModule("pydantic")
    over_http = LazyModule("buildfarm.client")
    config_vars = LazyModule("buildfarm.config_vars")
    events = LazyModule("buildfarm.events")
    fields = LazyModule("buildfarm.fields")
    model = LazyModule("buildfarm.model")
    refusals = LazyModule("buildfarm.cli.refusals")
    display = LazyModule("buildfarm.cli.show")
    progress_line = LazyModule("buildfarm.cli.details.progress")
    address = LazyModule("buildfarm.sources.address")

RUN_POLICIES = ("all", "latest_queued", "latest_always")


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--app", metavar="TENANT/APP", help="The app, as TENANT/APP. Default: local/<name of the directory>.")
@click.option("--env", "variables", metavar="KEY=VALUE", multiple=True, help="A config var; can be repeated.")
@click.option("--secret", "secrets", metavar="KEY[=VALUE]", multiple=True, help="A config var that logs must not show.")
@click.option("--buildpack", "buildpacks", multiple=True, help="A name, URL#ref or ./folder; can be repeated.")
@click.option("--buildpack-order", multiple=True, help="Detect with these in this order; can be repeated.")
@click.option("--git", "git_url", metavar="URL", help="Build a git repository instead of a directory.")
@click.option("--ref", default="HEAD", show_default=True, help="Branch, tag, full ref or commit of the git repository.")
@click.option("--archive", "archive_url", metavar="URL", help="Build a tar archive instead of a directory.")
@click.option("--sha256", metavar="HEX", help="SHA-256 that the archive must have.")
@click.option("--class", "build_class", help="Class of the build. Default: the farm's first class.")
@click.option("--size", help="Size of the sandbox. Default: the app's, which is standard unless it was set.")
@click.option(
    "--run-policy",
    type=click.Choice(RUN_POLICIES),
    default="latest_queued",
    show_default=True,
    help="Which older builds of the app this one replaces: none, waiting ones, or also the running one.",
)
@click.option("--rebuild", is_flag=True, help="Build even if the same input was built before.")
@click.option("--clean", is_flag=True, help="Build without the app's cache and earlier results; provenance says so.")
@click.option("--idempotency-key", metavar="KEY", help="The same key returns the same build, even to two callers.")
@click.option("--expires-in", type=float, metavar="SECONDS", help="Fail if it waits for longer than this.")
@click.option("--detach", is_flag=True, help="Print the build's id without waiting for the build to end.")
@click.option("--verbose", is_flag=True, help="List the files that are not sent, each with the rule that names it.")
@json_option
def build(
    *,
    directory: Path | None,
    app: str | None,
    variables: tuple[str, ...],
    secrets: tuple[str, ...],
    buildpacks: tuple[str, ...],
    buildpack_order: tuple[str, ...],
    git_url: str | None,
    ref: str,
    archive_url: str | None,
    sha256: str | None,
    build_class: str | None,
    size: str | None,
    run_policy: str,
    rebuild: bool,
    clean: bool,
    idempotency_key: str | None,
    expires_in: float | None,
    detach: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Build DIRECTORY (or --git, or --archive) and show its log until the image is in the registry."""
    if sum(given is not None for given in (directory, git_url, archive_url)) != 1:
        raise click.UsageError("Name one source: a directory, --git URL or --archive URL.")
    if (archive_url is None) != (sha256 is None):
        raise click.UsageError(
            "--archive and --sha256 belong together: the farm builds only archives whose checksum is given."
        )
    tenant, name = _app_names(app, directory or Path(str(git_url or archive_url).partition("#")[0]))
    hidden = tuple(pair.partition("=")[0] for pair in secrets)
    values = read_variables(variables, secrets)
    _check_names(tenant, name)
    console = display.terminal(stderr=as_json)
    with connected_farm() as farm:
        source: Source
        try:
            if directory is not None:
                seen: list[Choice] = []
                source, sent_bytes = farm.pack(directory, tenant, seen.append)
                console.print(f"source: {source.digest[:19]}, {units.size(sent_bytes)} sent", style="dim")
                display.show_left_out(console, seen[0].left_out, verbose=verbose)
            elif git_url is not None:
                source = address.GitSource(url=git_url, ref=ref)
            else:
                source = address.ArchiveSource(url=str(archive_url), sha256=str(sha256))
            request = model.BuildRequest(
                tenant=tenant,
                app=name,
                source=source,
                env=values,
                secrets=hidden,
                buildpacks=_chosen(farm, buildpacks),
                buildpack_order=_chosen(farm, buildpack_order),
                build_class=build_class,
                size=size,
                run_policy=model.RunPolicy(run_policy),
                cached_result=not rebuild,
                clean=clean,
                idempotency_key=idempotency_key,
                expires_in_seconds=expires_in,
            )
        except pydantic.ValidationError as error:
            raise RequestError(refusals.sentence_of(error)) from error
        submitted = farm.submit(request)
        if not detach:
            try:
                submitted = follow(farm, submitted.id, console, quiet=as_json)
            except KeyboardInterrupt:
                console.print(f"The build continues. `buildfarm cancel {submitted.id}` ends it.")
                raise
        _print(farm, submitted, console, as_json=as_json, detach=detach)
    if submitted.state.final:
        sys.exit(exit_of(submitted))


def follow(farm: Farm | Client, build_id: str, console: Console, *, quiet: bool) -> Build:
    """Shows phases and log lines until the build has ended, and returns it."""
    shown: Build | None = None
    progress = progress_line.Progress(farm)
    with console.status(progress):
        for item in farm.follow(build_id, now=True):
            if isinstance(item, model.Build):
                shown = item
                if console.is_terminal and not item.state.final:
                    progress.see(item)
            elif isinstance(item, events.LogNow):
                progress.writing = item.text
            elif not quiet:
                console.print(progress_line.line_text(item), soft_wrap=True)
    if shown is None:
        raise AssertionError("following a build ends with the build")
    return shown


def exit_of(build: Build) -> Exit:
    """The exit code of an ended build."""
    if build.state is model.State.SUCCEEDED:
        return Exit.DONE
    if build.failure is None:
        return Exit.CANCELLED
    is_app = issubclass(BUILD_ERRORS[build.failure.code], AppError)
    return Exit.APP_FAULT if is_app else Exit.FARM_FAULT


def _print(farm: Farm | Client, build: Build, console: Console, *, as_json: bool, detach: bool) -> None:
    if as_json:
        click.echo(json.dumps(details_of(farm, build)))
    elif detach:
        click.echo(build.id)
    else:
        display.show_build(console, build, farm.image(build) if build.result else "")


def _chosen(farm: Farm | Client, buildpacks: tuple[str, ...]) -> tuple[str, ...]:
    """The buildpacks as the request has them: what goes over the API is pinned by the build, in its sandbox."""
    if not buildpacks or isinstance(farm, over_http.Client):
        return buildpacks
    return tuple(pinned(farm, buildpacks))


def _app_names(app: str | None, source: Path) -> tuple[str, str]:
    if app is None:
        stem = source.resolve().name.removesuffix(".git").partition(".")[0].lower()
        return "local", re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:30].strip("-") or "app"
    tenant, slash, name = app.partition("/")
    if not slash:
        raise click.UsageError(f"--app {app}: write it as tenant/name.")
    return tenant, name


def _check_names(tenant: str, name: str) -> None:
    """Before anything is packed and sent."""
    for what, value in (("tenant", tenant), ("app", name)):
        if not re.fullmatch(fields.NAME_PATTERN, value):
            raise RequestError(
                f"{value[:80]!r} is not a valid name of the {what}: use 1 to 30 lower-case letters, digits and dashes, "
                "not at the ends."
            )


def read_variables(pairs: tuple[str, ...], secrets: tuple[str, ...] = ()) -> dict[str, str]:
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"--env {pair}: write it as KEY=VALUE.")
        values[name] = value
    for pair in secrets:
        # From the environment if no value is given: everybody on a machine sees its commands' arguments.
        name, equals, value = pair.partition("=")
        if not equals and name not in os.environ:
            raise click.UsageError(f"--secret {name}: there is no such variable in the environment.")
        values[name] = value if equals else os.environ[name]
    try:
        config_vars.check_secrets(values, tuple(pair.partition("=")[0] for pair in secrets))
        return config_vars.check_env(values)
    except ValueError as error:
        raise RequestError(f"{error}.") from error

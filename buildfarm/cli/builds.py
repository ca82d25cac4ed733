"""``buildfarm show|list|cancel``: what became of builds."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import connected_farm, json_option
from buildfarm.errors import RequestError

if TYPE_CHECKING:
    from buildfarm import model
    from buildfarm.cli import show as display
    from buildfarm.cli.details import progress
    from buildfarm.cli.details import why as decisions
    from buildfarm.client import Client
    from buildfarm.farm import Farm
    from buildfarm.queue import estimate as estimates
else:
    display = LazyModule("buildfarm.cli.show")
    decisions = LazyModule("buildfarm.cli.details.why")
    estimates = LazyModule("buildfarm.queue.estimate")
    model = LazyModule("buildfarm.model")
    progress = LazyModule("buildfarm.cli.details.progress")


def fields_of(farm: Farm | Client, build: model.Build) -> dict[str, object]:
    """A build as `--json` prints it: its record, and as ``image`` the reference that an engine can run, or null."""
    image = farm.image(build) if build.result else None
    return {**build.model_dump(mode="json"), "image": image}


def details_of(farm: Farm | Client, build: model.Build) -> dict[str, object]:
    """The same of a single build, with the place of a waiting one and how long an open one still takes, or null."""
    place = progress.waiting_place(farm, build)
    now = time.time() + (0.0 if build.state.final else progress.clock_ahead(farm))
    found = None if build.state.final else estimates.estimate(build, progress.usual_of(farm, build), now)
    return {
        **fields_of(farm, build),
        "queue_position": place and place.model_dump(mode="json"),
        "estimate": found and found.model_dump(mode="json"),
    }


@click.command()
@click.argument("build_id")
@click.option("--why", is_flag=True, help="Also show what decided: buildpacks, versions, caches, with the reasons.")
@json_option
def show(build_id: str, why: bool, as_json: bool) -> None:
    """Show a build: its state, and its result or failure."""
    with connected_farm() as farm:
        build = farm.get(build_id)
        reasons = decisions.reasons_of(build, farm.logs(build_id)) if why else []
        if as_json:
            told = {"why": [dataclasses.asdict(reason) for reason in reasons]} if why else {}
            click.echo(json.dumps({**details_of(farm, build), **told}))
            return
        output = display.terminal()
        place = progress.waiting_place(farm, build)
        display.show_build(output, build, farm.image(build) if build.result else "", place)
        display.show_reasons(output, [(reason.what, reason.sentence) for reason in reasons])
        for line in build.failure.log_tail if build.failure else ():
            output.print(f"  {line}", markup=False, soft_wrap=True)


@click.command(name="list")
@click.option("--app", metavar="TENANT/APP", help="Only this app's builds.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@json_option
def list_builds(app: str | None, limit: int, as_json: bool) -> None:
    """List the newest builds; of an app those in the archive too."""
    tenant, _, name = (app or "").partition("/")
    if app and not (tenant and name):
        raise click.UsageError(f"--app {app}: write it as tenant/name.")
    with connected_farm() as farm:
        lost: list[str] = []
        found = farm.recent(limit, tenant=tenant or None, app=name or None, lost=lost)
        if as_json:
            click.echo(json.dumps([fields_of(farm, build) for build in found]))
        else:
            click.echo("\n".join(display.build_lines(found, display.columns_of(sys.stdout))))
    for sentence in lost:
        click.echo(sentence, err=True)


@click.command()
@click.argument("build_id")
@json_option
def cancel(build_id: str, as_json: bool) -> None:
    """End a build that waits or runs."""
    with connected_farm() as farm:
        found = farm.cancel(build_id)
    if found.final:
        raise RequestError(f"Build {build_id} has ended already: it {_ENDINGS[found]}.")
    if as_json:
        click.echo(json.dumps({"id": build_id, "found": found}))
    else:
        click.echo(
            "Cancelled." if found is not model.State.RUNNING else "It is running, and ends within a few seconds."
        )


_ENDINGS = {
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "was cancelled",
    "superseded": "was superseded",
}

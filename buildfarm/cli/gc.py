"""``buildfarm gc|archive|retention``: the registry's garbage, its archive after a restore, and what stays how long."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import connected_farm, json_option
from buildfarm.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Collection

    from buildfarm import farm as library
    from buildfarm import settings as settings_module
    from buildfarm import telemetry
    from buildfarm.cli import show as display
    from buildfarm.farm import Farm
    from buildfarm.gc import collect, farm_garbage
    from buildfarm.gc import rules as rules_module
    from buildfarm.gc import storage as storage_module
    from buildfarm.gc.choose import Rules
    from buildfarm.gc.farm_garbage import FarmGarbage
    from buildfarm.gc.over_api import garbage as over_api
    from buildfarm.gc.over_api import listing as listings
    from buildfarm.gc.over_api.listing import Listing
    from buildfarm.gc.result import Collected
    from buildfarm.gc.retention import Retention
    from buildfarm.gc.storage import Storage
    from buildfarm.settings import Settings
    from buildfarm.telemetry import units
else:
    display = LazyModule("buildfarm.cli.show")
    units = LazyModule("buildfarm.telemetry.units")
    library = LazyModule("buildfarm.farm")
    settings_module = LazyModule("buildfarm.settings")
    telemetry = LazyModule("buildfarm.telemetry")
    collect = LazyModule("buildfarm.gc.collect")
    farm_garbage = LazyModule("buildfarm.gc.farm_garbage")
    over_api = LazyModule("buildfarm.gc.over_api.garbage")
    listings = LazyModule("buildfarm.gc.over_api.listing")
    rules_module = LazyModule("buildfarm.gc.rules")
    storage_module = LazyModule("buildfarm.gc.storage")

_DAY = 86400
_NICE = 19
_number = click.FloatRange(0)


@click.command()
@click.argument("storage", type=click.Path(path_type=Path), required=False)
@click.option("--images", type=click.IntRange(1), help="Number of newest images to keep for each app.")
@click.option("--source-days", type=_number, help="Delete sources that are older.")
@click.option("--cache-days", type=_number, help="Delete build caches that are older.")
@click.option("--grace-hours", type=_number, help="Keep everything that is younger.")
@click.option("--keep", type=click.Path(path_type=Path, exists=True), help="Images to keep, by digest, one per line.")
@click.option("--max-bytes", type=_number, help="Free no more than this; the next run goes on.")
@click.option("--max-seconds", type=_number, help="Take nothing more after this time.")
@click.option(
    "--listing", type=click.Path(path_type=Path), help="Delete over the registry's API: what its own collector lists."
)
@click.option("--adopt", is_flag=True, help="Collect a registry that another farm collected before.")
@click.option("--dry-run", is_flag=True, help="Only report what would be deleted.")
@json_option
def gc(
    storage: Path | None,
    keep: Path | None,
    listing: Path | None,
    *,
    adopt: bool,
    dry_run: bool,
    as_json: bool,
    **limits: float | None,
) -> None:
    """Remove what nothing refers to from the registry, whose files are in STORAGE.

    Images with a tag stay, and those that are in use, or that the record of a build or --keep names. The registry may
    run meanwhile. What is not given is as the settings say, and STORAGE of a local farm is known.

    Of a registry on a bucket, --listing names what `docker-registry garbage-collect --dry-run` has just printed, after
    a line with # and the time (date +%s).
    """
    if storage and listing:
        raise click.UsageError("Name the registry's files, or a listing of what it has.")
    settings = settings_module.read_settings()
    telemetry.set_up_logging(settings)
    where = listings.Listing.read(listing) if listing else _files(storage or settings.registry_storage)
    listed = keep.read_text().split() if keep else ()
    # Never by the API: the records are read from Redis itself.
    with library.open_farm(settings) as farm:
        garbage = _garbage(farm)
        rules, budget = _rules(garbage, limits), _budget(settings, limits)
        if dry_run:
            done = _look(garbage, where, rules, budget, listed)
        else:
            os.nice(_NICE)  # builds and the registry come first
            done = _collect(garbage, where, rules, budget, listed, adopt=adopt)
    if as_json:
        click.echo(json.dumps(farm_garbage.encode(done)))
    else:
        _show(done, dry_run=dry_run, rest="to the registry's own collector" if listing else "for the next run")


def _look(
    garbage: FarmGarbage, where: Storage | Listing, rules: Rules, budget: collect.Budget, listed: Collection[str]
) -> Collected:
    if isinstance(where, listings.Listing):
        return over_api.ListedGarbage(garbage, where).look(rules, listed)
    return garbage.look(where, rules, budget, listed=listed)


def _collect(
    garbage: FarmGarbage,
    where: Storage | Listing,
    rules: Rules,
    budget: collect.Budget,
    listed: Collection[str],
    *,
    adopt: bool,
) -> Collected:
    if isinstance(where, listings.Listing):
        return over_api.ListedGarbage(garbage, where).collect(rules, budget, listed, adopt=adopt)
    return garbage.collect(where, rules, budget, listed=listed, adopt=adopt)


def _garbage(farm: Farm) -> FarmGarbage:
    history = dataclasses.replace(farm.history, registry=lambda: farm.registry)  # it tries again
    return farm_garbage.FarmGarbage(history, farm.settings, (*farm.channel_keeper.named(), farm.settings.imager))


def _files(folder: Path | None) -> Storage:
    folder = folder or _local_storage()
    if folder is None:
        raise SetupError(
            "This process does not know where the registry's files are.",
            advice="Name the folder that the registry calls its rootdirectory, or set BUILDFARM_REGISTRY_STORAGE.",
        )
    files = storage_module.Storage(folder)
    with files.failures():
        if not files.exists():
            raise SetupError(
                f"{folder} does not contain a registry's files.",
                advice="Name the folder that the registry calls its rootdirectory, such as /var/lib/registry.",
            )
    return files


def _local_storage() -> Path | None:
    """The files of the local farm's registry; None if these settings name another registry, or no farm is here."""
    if not settings_module.ENV_FILE.exists():
        return None
    # In a separate process, as `buildfarm up`: the library has no Docker client.
    command = [sys.executable, "-m", "localfarm", "registry-files"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return Path(found) if found else None


def _rules(garbage: FarmGarbage, limits: dict[str, float | None]) -> Rules:
    found = garbage.rules()
    return dataclasses.replace(
        found,
        images=int(_given(limits["images"], found.images)),
        source_seconds=_given(limits["source_days"], found.source_seconds, _DAY),
        cache_seconds=_given(limits["cache_days"], found.cache_seconds, _DAY),
        grace_seconds=_given(limits["grace_hours"], found.grace_seconds, 3600),
    )


def _budget(settings: Settings, limits: dict[str, float | None]) -> collect.Budget:
    found = rules_module.budget_of(settings)
    return collect.Budget(_given(limits["max_bytes"], found.freed_bytes), _given(limits["max_seconds"], found.seconds))


def _given(value: float | None, otherwise: float, factor: float = 1) -> float:
    return otherwise if value is None else value * factor


def _show(done: Collected, *, dry_run: bool, rest: str) -> None:
    verb = "would go" if dry_run else "are gone"
    click.echo(f"{done.manifests} manifests and {done.blobs} blobs {verb}: {units.size(done.freed_bytes)}.")
    if done.left_bytes:
        click.echo(f"{units.size(done.left_bytes)} more is left {rest}.")
    rows = display.table("kept by", "manifests", "size")
    for reason, share in done.kept.items():
        if share.manifests:
            rows.add_row(reason, str(share.manifests), units.size(share.bytes))
    rows.add_row("all", str(done.kept_manifests), units.size(done.stored_bytes))
    display.terminal().print(rows)


@click.group()
def archive() -> None:
    """Find archived builds again, after Redis or the registry was restored from a copy."""


@archive.command(short_help="List the packs anew, as the registry has them.")
@json_option
def rebuild(as_json: bool) -> None:
    """List the archive's packs anew, as the registry has them, and forget those that it has lost."""
    settings = settings_module.read_settings()
    telemetry.set_up_logging(settings)
    with library.open_farm(settings) as farm:
        done = _garbage(farm).rebuild()
    click.echo("Collections wait until `buildfarm gc --adopt`: have the images that run reported first.", err=True)
    if as_json:
        click.echo(json.dumps({**dataclasses.asdict(done), "sources": len(done.sources)}))
        return
    click.echo(f"Builds in the archive: {done.builds}, in packs: {done.packs}, not known before: {done.found}.")
    for pack in done.lost:
        times = [datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M") for at in (pack.first, pack.last)]
        click.echo(f"Lost, builds of {pack.place}: {pack.builds}, submitted from {times[0]} to {times[1]} UTC.")
    for target in done.without_image:
        click.echo(f"Lost: the newest image of {target}. Build it again.")
    if done.tags:
        click.echo(f"Apps whose newest image was taken over from their tag in the registry: {len(done.tags)}.")
    for rollout_id in done.paused:
        click.echo(f"Paused: rollout {rollout_id}. Resume it when all nodes and the orchestrator are back.")
    for sentence in (*done.damaged, *done.unread):
        click.echo(f"Not read: {sentence}")


@click.group()
def retention() -> None:
    """Show and set what stays how long without a tag, and the images in use, which always stay."""


@retention.command(name="show", short_help="Show a policy, or all values that were set.")
@click.argument("owner", metavar="[TENANT[/APP]]", required=False)
@json_option
def show_retention(owner: str | None, as_json: bool) -> None:
    """Show the policy of a tenant or an app; without one, all values that were set."""
    with connected_farm() as farm:
        if owner is None:
            found = farm.retention_set()
            click.echo(
                json.dumps(found) if as_json else "\n".join(f"{name}={value:g}" for name, value in found.items())
            )
            return
        tenant, slash, app = owner.partition("/")
        _print_policy(farm.retention(tenant, app if slash else None), as_json=as_json)


@retention.command(name="set", short_help="Set fields of a policy, such as images=5.")
@click.argument("owner", metavar="TENANT[/APP]")
@click.argument("values", metavar="FIELD=VALUE...", nargs=-1, required=True)
@json_option
def set_retention(owner: str, values: tuple[str, ...], as_json: bool) -> None:
    """Set fields of a policy, such as images=5 image_days=30; an empty value goes back to the tenant's or the farm's.

    A policy that would delete running images is refused.
    """
    tenant, slash, app = owner.partition("/")
    with connected_farm() as farm:
        now = farm.set_retention(tenant, app if slash else None, **dict(map(_field, values)))
    _print_policy(now, as_json=as_json)


@retention.command(name="in-use", short_help="Report images as running, or show what is reported.")
@click.argument("images", metavar="[IMAGE...]", nargs=-1)
@click.option("--reporter", default="operator", show_default=True, help="Whose report this is; it replaces its last.")
@click.option("--days", default=3.0, show_default=True, type=float, help="How long it counts.")
@click.option("--none", "none", is_flag=True, help="End the reporter's report.")
@json_option
def in_use(images: tuple[str, ...], reporter: str, days: float, none: bool, as_json: bool) -> None:
    """Report images as running, by repository@digest or digest; without any, show what is reported."""
    with connected_farm() as farm:
        reports = [farm.report_in_use(images, days=days, reporter=reporter)] if images or none else farm.images_in_use()
    if as_json:
        click.echo(json.dumps([report.model_dump(mode="json") for report in reports]))
        return
    for report in reports:
        for image in report.images:
            click.echo(f"{image} {report.reporter}")


def _field(text: str) -> tuple[str, float | None]:
    name, equals, value = text.partition("=")
    try:
        number = float(value) if value else None
    except ValueError:
        equals = ""
    if not equals:
        raise click.UsageError(f"{text!r} is not FIELD=NUMBER.")
    return name.replace("-", "_"), number


def _print_policy(policy: Retention, *, as_json: bool) -> None:
    if as_json:
        click.echo(policy.model_dump_json())
        return
    for name, value in policy.model_dump().items():
        click.echo(f"{name}={value:g}")

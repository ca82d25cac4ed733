"""``buildfarm gc``: the garbage of the registry, collected where its files are."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import json_option
from buildfarm.errors import SetupError

if TYPE_CHECKING:
    from buildfarm import farm as library
    from buildfarm import settings as settings_module
    from buildfarm import telemetry
    from buildfarm.farm import Farm
    from buildfarm.gc import choose
    from buildfarm.gc import storage as storage_module
    from buildfarm.telemetry import units
else:
    units = LazyModule("buildfarm.telemetry.units")
    library = LazyModule("buildfarm.farm")
    settings_module = LazyModule("buildfarm.settings")
    telemetry = LazyModule("buildfarm.telemetry")
    choose = LazyModule("buildfarm.gc.choose")
    storage_module = LazyModule("buildfarm.gc.storage")

_DAY = 86400
_days = click.FloatRange(0)


@click.command()
@click.argument("storage", type=click.Path(path_type=Path))
@click.option(
    "--images",
    default=10,
    show_default=True,
    type=click.IntRange(1),
    help="Number of newest images to keep for each app.",
)
@click.option("--source-days", default=7.0, show_default=True, type=_days, help="Delete sources that are older.")
@click.option("--cache-days", default=30.0, show_default=True, type=_days, help="Delete build caches that are older.")
@click.option("--grace-hours", default=24.0, show_default=True, type=_days, help="Keep everything that is younger.")
@click.option("--keep", type=click.Path(path_type=Path, exists=True), help="Digests of images to keep, one per line.")
@click.option("--dry-run", is_flag=True, help="Only report what would be deleted.")
@json_option
def gc(storage: Path, keep: Path | None, dry_run: bool, as_json: bool, **limits: float) -> None:
    """Remove what nothing refers to from the registry, whose files are in STORAGE.

    Images with a tag stay, and those that the record of a build or --keep names. The registry may run meanwhile.
    """
    files = storage_module.Storage(storage)
    if not files.exists():
        raise SetupError(
            f"{storage} does not contain a registry's files.",
            advice="Name the folder that the registry calls its rootdirectory, such as /var/lib/registry.",
        )
    rules = choose.Rules(
        images=int(limits["images"]),
        source_seconds=limits["source_days"] * _DAY,
        cache_seconds=limits["cache_days"] * _DAY,
        grace_seconds=limits["grace_hours"] * 3600,
    )
    settings = settings_module.read_settings()
    telemetry.set_up_logging(settings)
    # Never by the API: the records are read from Redis itself.
    with library.open_farm(settings) as farm:
        used = used_digests(farm) | set(keep.read_text().split() if keep else ())
    done = choose.collect(files, used, rules, really=not dry_run)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(done)))
        return
    verb = "would go" if dry_run else "are gone"
    click.echo(f"{done.manifests} manifests and {done.blobs} blobs {verb}: {units.size(done.freed_bytes)}.")
    click.echo(f"{done.kept_manifests} manifests remain.")


def used_digests(farm: Farm) -> set[str]:
    """Digests that records name: images of builds, sources of those that have not ended, builder and imager."""
    used = {reference.rpartition("@")[2] for reference in (farm.builder(), farm.settings.imager)}
    return (used | farm.records.digests()) - {""}

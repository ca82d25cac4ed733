"""``buildfarm queue|limits``: who waits, for how long, and what a tenant may have at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import connected_farm, inside_farm, json_option

if TYPE_CHECKING:
    from rich.table import Table

    from buildfarm.cli import show as display
    from buildfarm.queue.view import Limits, QueueRow
    from buildfarm.telemetry import units
else:
    display = LazyModule("buildfarm.cli.show")
    units = LazyModule("buildfarm.telemetry.units")


@click.command()
@click.option("--tenants", "tenants_max", default=20, show_default=True, type=click.IntRange(1, 1000))
@json_option
def queue(tenants_max: int, as_json: bool) -> None:
    """Show what waits, by class and by tenant, and how many builds of each started lately."""
    with connected_farm() as farm:
        view = farm.queue(tenants_max)
    if as_json:
        click.echo(view.model_dump_json())
        return
    output = display.terminal()
    output.print(_table("class", view.classes, view.minutes))
    if view.tenants:
        output.print()
        output.print(_table("tenant", view.tenants, view.minutes))


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def limits(context: click.Context, as_json: bool) -> None:
    """Show the limits that are set; the settings apply to all others."""
    if context.invoked_subcommand is not None:
        return
    with inside_farm() as farm:
        found, otherwise = farm.limits_set(), farm.admission.terms.limits
        sizes = farm.sizes.tenants()
    if as_json:
        click.echo(json.dumps({"settings": otherwise.model_dump(), "set": found, "sizes": sizes}))
        return
    output = display.terminal()
    rows = display.table("whose", "limit", "value")
    for name, value in otherwise.model_dump(exclude={"sizes"}).items():
        whose, _, limit = name.partition("_")
        rows.add_row(f"every {whose}", limit, str(value))
    rows.add_row("every tenant", "sizes", ",".join(otherwise.sizes))
    for name, value in found.items():
        whose, _, limit = name.rpartition(":")
        rows.add_row(whose, limit, str(value))
    for whose, allowed in sizes.items():
        rows.add_row(whose, "sizes", allowed)
    output.print(rows)


@limits.command(name="set")
@click.argument("owner", metavar="TENANT[/APP]")
@click.option("--running", type=int, help="Builds that run at once.")
@click.option("--waiting", type=int, help="Builds of the tenant that wait; more are refused.")
@click.option("--bytes", "stored", type=int, help="The tenant's bytes in the registry; beyond, uploads are refused.")
@click.option("--sizes", help="Sizes that the tenant's builds may have, as standard,large.")
@json_option
def set_limits(
    *, owner: str, running: int | None, waiting: int | None, stored: int | None, sizes: str | None, as_json: bool
) -> None:
    """Set limits of a tenant, or of one of its apps, from now on."""
    values: dict[str, int | None] = {"running": running, "waiting": waiting, "bytes": stored}
    named = [size.strip() for size in (sizes or "").split(",") if size.strip()]
    if sizes is not None and not named:
        raise click.UsageError("--sizes names no size: write it as standard,large.")
    _change(owner, {name: value for name, value in values.items() if value is not None}, named, as_json=as_json)


@limits.command(name="unset")
@click.argument("owner", metavar="TENANT[/APP]")
@json_option
def unset_limits(owner: str, as_json: bool) -> None:
    """Remove the limits of a tenant or an app; the settings apply again."""
    if "/" in owner:
        _change(owner, {"running": None}, as_json=as_json)
    else:
        _change(owner, {"running": None, "waiting": None, "bytes": None}, None, as_json=as_json)


@limits.command()
@click.argument("tenant")
@json_option
def usage(tenant: str, as_json: bool) -> None:
    """Show how much a tenant has in the registry, and its limit."""
    with connected_farm() as farm:
        used, limit = farm.usage(tenant), farm.limits(tenant).tenant_bytes
    if as_json:
        click.echo(json.dumps({"used": used, "limit": limit}))
        return
    rows = display.table("what", "size")
    for kind, size in used.items():
        rows.add_row(kind, units.size(size))
    rows.add_row("limit", units.size(limit) if limit else "none")
    display.terminal().print(rows)


def _change(owner: str, values: dict[str, int | None], sizes: Sequence[str] | None = (), *, as_json: bool) -> None:
    if not values and sizes == []:
        raise click.UsageError("Name what to set: --running, --waiting, --bytes or --sizes.")
    tenant, slash, app = owner.partition("/")
    with connected_farm() as farm:
        now = farm.set_limits(tenant, app if slash else None, sizes=sizes, **values)
    if as_json:
        click.echo(now.model_dump_json())
    elif slash:
        click.echo(f"{owner}: {now.app_running} running at once.")
    else:
        stored = f"{units.size(now.tenant_bytes)} in the registry" if now.tenant_bytes else "no limit in the registry"
        counts = f"{now.tenant_running} running at once, {now.tenant_waiting} waiting"
        click.echo(f"{owner}: {counts}, {stored}.{_sizes(now)}")


def _sizes(now: Limits) -> str:
    return "" if now.sizes == ("standard",) else f" Sizes: {', '.join(now.sizes)}."


def _table(first: str, rows: Sequence[QueueRow], minutes: int) -> Table:
    names = ("class",) if first == "class" else ("tenant", "class")
    shown = display.table(*names, "held", "queued", "running", "oldest", f"started, {minutes} min", "share")
    for row in rows:
        kind = row.build_class if row.size == "standard" else f"{row.build_class}, {row.size}"
        name = (kind,) if first == "class" else (row.tenant, kind)
        oldest = "" if row.oldest_seconds is None else duration(row.oldest_seconds)
        share = f"{row.share:.0%}" if row.started else ""
        counts = (str(row.held), str(row.queued), str(row.running))
        shown.add_row(*name, *counts, oldest, str(row.started), share)
    return shown


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

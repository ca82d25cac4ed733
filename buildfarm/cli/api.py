"""``buildfarm api|tokens|cells|audit``: the farm over HTTP, who may use it, and what they did."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import Exit, json_option

if TYPE_CHECKING:
    from buildfarm import access, telemetry
    from buildfarm import farm as library
    from buildfarm import settings as settings_module
    from buildfarm.access import Token
    from buildfarm.api import server
    from buildfarm.cli import show as display
    from buildfarm.store import Database
else:
    display = LazyModule("buildfarm.cli.show")
    access = LazyModule("buildfarm.access")
    server = LazyModule("buildfarm.api.server")
    library = LazyModule("buildfarm.farm")
    settings_module = LazyModule("buildfarm.settings")
    telemetry = LazyModule("buildfarm.telemetry")

SCOPES = ("read", "submit", "admin")


@click.command()
@click.option("--host", help="Address to listen on. Default: BUILDFARM_API_HOST.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on. Default: BUILDFARM_API_PORT.")
def api(host: str | None, port: int | None) -> None:
    """Serve the API and its page in the foreground."""
    serve = server.serve  # first, so that a missing extra is found before the settings are
    settings = settings_module.read_settings()
    given = {name: value for name, value in (("api_host", host), ("api_port", port)) if value is not None}
    telemetry.set_up_logging(settings)
    serve(settings.model_copy(update=given))


@click.group()
def tokens() -> None:
    """Make, list and revoke the tokens of the API."""


@tokens.command()
@click.option("--tenant", help="The tenant it is valid for. Default: all tenants.")
@click.option("--name", default="default", show_default=True, help="What it is used for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="Can be repeated. Default: read, submit.",
)
@click.option(
    "--days", default=90.0, show_default=True, type=click.FloatRange(0, min_open=True), help="How long it is valid."
)
@json_option
def make(tenant: str | None, name: str, scopes: tuple[str, ...], days: float, as_json: bool) -> None:
    """Make a token. It is shown once; the farm keeps only its hash."""
    wanted = frozenset(access.Scope(scope) for scope in scopes or ("read", "submit"))
    with _farm() as farm:
        text, token = access.Tokens(farm.database, farm.settings.cell).make(tenant, name, wanted, days)
        _note(farm.database, "token.make", token)
    if as_json:
        click.echo(json.dumps({"token": text, **_values(token)}))
        return
    click.echo(text)
    click.echo(f"Store it now: it is not shown again. It is valid until {_day(token.expires_at)}.", err=True)


@tokens.command(name="list")
@json_option
def list_tokens(as_json: bool) -> None:
    """List the tokens that are valid now."""
    with _database() as database:
        found = access.Tokens(database).all()
    if as_json:
        click.echo(json.dumps([_values(token) for token in found]))
        return
    rows = display.table("id", "tenant", "name", "scopes", "until")
    for token in found:
        scopes = ", ".join(sorted(token.scopes))
        rows.add_row(token.id, token.tenant or "(all)", token.name, scopes, _day(token.expires_at))
    display.terminal().print(rows)


@tokens.command()
@click.argument("token_id")
@json_option
def revoke(token_id: str, as_json: bool) -> None:
    """End a token, named by its id. It opens nothing from now on."""
    with _database() as database:
        token = access.Tokens(database).revoke(token_id)
        _note(database, "token.revoke", token)
    click.echo(json.dumps(_values(token)) if as_json else "Revoked.")


@click.command()
@click.argument("cells", metavar="NAME=URL...", nargs=-1, required=True)
@click.option("--default", metavar="NAME", help="The cell of requests whose token names none. Default: the first.")
@click.option("--listen", default="80", show_default=True, help="What nginx listens on, such as 443 ssl.")
@click.option("--server-name", default="", help="The proxy's host name; cell b's page is at b.<name>.")
def cells(cells: tuple[str, ...], default: str | None, listen: str, server_name: str) -> None:
    """Print an nginx configuration that sends each request to the farm that made its token, one of several.

    NAME is the BUILDFARM_CELL of a farm, and URL the address of its API, such as a=http://10.0.1.5:8088.
    """
    found = [access.Cell.parse(text) for text in cells]
    front = access.Front(found, found[0].name if default is None else default, listen, server_name)
    click.echo(front.configuration(), nl=False)


@click.command()
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--verify", is_flag=True, help="Check that no entry was changed, and print the newest hash.")
@json_option
def audit(limit: int, verify: bool, as_json: bool) -> None:
    """Show who did what. Ends with 4 if --verify finds a changed entry, or entries that cannot be read."""
    lost: list[str] = []
    with _farm() as farm:
        log = access.Audit(farm.database, lambda: farm.quick_registry)
        if verify:
            _print_verified(log.verify(), as_json=as_json)
            return
        found = log.newest(limit, lost)
    for sentence in lost:
        click.echo(sentence, err=True)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(entry) for entry in found]))
        return
    rows = display.table("when", "who", "tenant", "did", "to", "result", "from")
    for entry in found:
        when = datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        rows.add_row(when, entry.who, entry.tenant, entry.verb, entry.object, entry.result, entry.address)
    display.terminal().print(rows)


def _print_verified(verified: access.Verified, *, as_json: bool) -> None:
    for sentence in verified.lost:
        click.echo(sentence, err=True)
    text = f"{verified.entries} entries, none changed. The newest hash: {verified.head or '(none)'}"
    click.echo(json.dumps(dataclasses.asdict(verified)) if as_json else text)
    if verified.lost:
        raise SystemExit(Exit.FARM_FAULT)


@contextmanager
def _farm() -> Iterator[library.Farm]:
    settings = settings_module.read_settings()
    telemetry.set_up_logging(settings)
    with library.open_farm(settings) as farm:
        yield farm


@contextmanager
def _database() -> Iterator[Database]:
    with _farm() as farm:
        yield farm.database


def _note(database: Database, verb: str, token: Token) -> None:
    entry = access.AuditEntry(
        who=caller(), token="", tenant=token.tenant or "", verb=verb, object=token.id, result="done",
        address="local",
    )  # fmt: skip
    access.Audit(database).add(entry)


def caller() -> str:
    """Who calls; a container's user often has a number and no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        return str(os.getuid())


def _values(token: Token) -> dict[str, object]:
    return {**dataclasses.asdict(token), "scopes": sorted(token.scopes)}


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")

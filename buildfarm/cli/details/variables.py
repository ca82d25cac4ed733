"""``buildfarm env``: variables for all builds of the farm, a tenant or an app."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import connected_farm, json_option
from buildfarm.errors import RequestError

if TYPE_CHECKING:
    from buildfarm import access
    from buildfarm import farm as library
    from buildfarm.cli import show as display
    from buildfarm.config_vars import build_variables
    from buildfarm.config_vars.build_variables import BuildVariable, VariableView
else:
    access = LazyModule("buildfarm.access")
    library = LazyModule("buildfarm.farm")
    display = LazyModule("buildfarm.cli.show")
    build_variables = LazyModule("buildfarm.config_vars.build_variables")

_F = TypeVar("_F", bound=Callable[..., Any])


def _scoped(command: _F) -> _F:
    """The options by which a command names whose variables it is about."""
    for option in (
        click.option("--app", metavar="TENANT/APP", help="Those of this app's builds; they win over all others."),
        click.option("--tenant", help="Those of all of this tenant's builds; they win over the farm's."),
        click.option("--farm", "whole_farm", is_flag=True, help="Those of all builds of the farm."),
    ):
        command = option(command)
    return command


@click.group()
def env() -> None:
    """Set variables for all builds: proxies, mirrors, certificates.

    Every step of a build has them in its environment, also the steps that fetch sources and buildpacks. They are in no
    image. A build's own config vars win over them.
    """


@env.command(name="set")
@_scoped
@click.argument("pairs", metavar="KEY=VALUE...", nargs=-1)
@click.option("--file", "files", multiple=True, metavar="KEY=PATH", help="A file: the build's KEY is its path there.")
@click.option("--secret", is_flag=True, help="No file of an image may contain these values.")
@json_option
def set_variables(
    *,
    whole_farm: bool,
    tenant: str | None,
    app: str | None,
    pairs: tuple[str, ...],
    files: tuple[str, ...],
    secret: bool,
    as_json: bool,
) -> None:
    """Set variables from now on. KEY alone takes the value of this command's environment.

    CA_CERTIFICATES has certificates in PEM: --file CA_CERTIFICATES=PATH. Builds trust them beside those that they
    trust anyway.
    """
    changes = {}
    for pair in pairs:
        name, value = _pair(pair)
        changes[name] = build_variables.BuildVariable(value=value, secret=secret)
    for pair in files:
        name, equals, path = pair.partition("=")
        if not equals:
            raise click.UsageError(f"--file {pair}: write it as KEY=PATH.")
        changes[name] = build_variables.BuildVariable(value=_text(Path(path)), file=True, secret=secret)
    _change(changes, _scope(whole_farm, tenant, app), as_json=as_json)


@env.command()
@_scoped
@click.argument("names", metavar="KEY...", nargs=-1)
@json_option
def unset(whole_farm: bool, tenant: str | None, app: str | None, names: tuple[str, ...], as_json: bool) -> None:
    """Remove variables; those of a wider scope count again."""
    _change(dict.fromkeys(names), _scope(whole_farm, tenant, app), as_json=as_json)


@env.command(name="list")
@_scoped
@json_option
def list_variables(whole_farm: bool, tenant: str | None, app: str | None, as_json: bool) -> None:
    """List the variables of the farm, a tenant or an app, by name."""
    tenant, app = (None, None) if not (whole_farm or tenant or app) else _scope(whole_farm, tenant, app)
    with connected_farm() as farm:
        found = [one for one in farm.variables(tenant) if app is None or one.app in (None, app)]
    _print(found, as_json=as_json)


def _change(
    changes: Mapping[str, BuildVariable | None], scope: tuple[str | None, str | None], *, as_json: bool
) -> None:
    if not changes:
        raise click.UsageError("Name at least one variable.")
    tenant, app = scope
    with connected_farm() as farm:
        found = farm.set_variables(changes, tenant=tenant, app=app)
        if isinstance(farm, library.Farm):  # else the API has noted it
            _note(farm, changes, f"{tenant}/{app or ''}" if tenant else "farm", tenant or "")
    _print([one for one in found if (one.tenant, one.app) == scope], as_json=as_json)


def _note(farm: library.Farm, changes: Mapping[str, BuildVariable | None], where: str, tenant: str) -> None:
    try:
        who = getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        who = str(os.getuid())
    verb = "variables.set" if any(changes.values()) else "variables.unset"
    what = f"{where} {', '.join(sorted(changes))}"
    entry = access.AuditEntry(who=who, token="", tenant=tenant, verb=verb, object=what, result="done", address="local")
    access.Audit(farm.database).add(entry)


def _scope(whole_farm: bool, tenant: str | None, app: str | None) -> tuple[str | None, str | None]:
    if whole_farm + (tenant is not None) + (app is not None) != 1:
        raise click.UsageError("Name one of --farm, --tenant and --app.")
    if app is None:
        return tenant, None
    owner, slash, name = app.partition("/")
    if not slash:
        raise click.UsageError(f"--app {app}: write it as TENANT/APP.")
    return owner, name


def _pair(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not equals and name not in os.environ:
        raise click.UsageError(f"{name}: write it as KEY=VALUE, or set this variable in the command's environment.")
    return name, value if equals else os.environ[name]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} cannot be read: {error}.", advice="Name a text file.") from error


def _print(found: list[VariableView], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([one.model_dump() for one in found]))
        return
    rows = display.table("whose", "variable", "kind")
    for one in found:
        whose = "/".join(filter(None, (one.tenant, one.app))) or "the farm"
        kind = ("file" if one.file else "value") + (", secret" if one.secret else "")
        rows.add_row(whose, one.name, kind)
    display.terminal().print(rows)

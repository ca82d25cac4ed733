"""``buildfarm credentials``: keys and tokens that private repositories and buildpacks are fetched with."""

from __future__ import annotations

import getpass
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import connected_farm, json_option
from buildfarm.errors import RequestError

if TYPE_CHECKING:
    from buildfarm import access
    from buildfarm import farm as library
    from buildfarm.cli import show as display
    from buildfarm.sources import credentials as rules
    from buildfarm.sources.credentials import CredentialView, NewCredential
else:
    access = LazyModule("buildfarm.access")
    library = LazyModule("buildfarm.farm")
    display = LazyModule("buildfarm.cli.show")
    rules = LazyModule("buildfarm.sources.credentials")

_tenant = click.option("--tenant", help="Those of all of this tenant's apps.")
_app = click.option("--app", metavar="TENANT/APP", help="Those of this app; they win over its tenant's.")
_KINDS = ("ssh-key", "token", "registry", "public")


@click.group()
def credentials() -> None:
    """Set deploy keys and tokens for private repositories, submodules, Git LFS files and buildpacks.

    They are encrypted, shown never again, and given only to a sandbox that fetches and runs nothing of the app.
    """


@credentials.command(name="set")
@_tenant
@_app
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(_KINDS),
    required=True,
    help="ssh-key and token: git; registry: buildpacks; public: git without a login.",
)
@click.option("--for", "address", required=True, metavar="HOST[/PATH]", help="What it opens: github.com/acme/.")
@click.option(
    "--file", "path", type=click.Path(path_type=Path), help="File with the key or token. Else: standard input."
)
@click.option("--user", default="", help="The token's user. Default: x-access-token.")
@click.option("--host-key", "host_keys", multiple=True, metavar="KEY", help="The host's public key; else learned once.")
@click.option("--submodules", is_flag=True, help="Fetch the submodules of its repositories too.")
@click.option("--lfs", is_flag=True, help="Fetch the Git LFS files of its repositories too.")
@json_option
def set_credential(
    *,
    tenant: str | None,
    app: str | None,
    name: str,
    kind: str,
    address: str,
    path: Path | None,
    user: str,
    host_keys: tuple[str, ...],
    submodules: bool,
    lfs: bool,
    as_json: bool,
) -> None:
    """Set a credential from now on, or replace it. Its value is read from a file or from standard input."""
    scope = _scope(tenant, app)
    new = rules.NewCredential(
        kind=rules.Kind(kind), address=address, value=_value(path, kind), user=user,
        host_keys=host_keys, submodules=submodules, lfs=lfs,
    )  # fmt: skip
    _change(name, new, scope, as_json=as_json)


@credentials.command()
@_tenant
@_app
@click.argument("name")
@json_option
def remove(tenant: str | None, app: str | None, name: str, as_json: bool) -> None:
    """Remove a credential."""
    _change(name, None, _scope(tenant, app), as_json=as_json)


@credentials.command(name="list")
@_tenant
@_app
@json_option
def list_credentials(tenant: str | None, app: str | None, as_json: bool) -> None:
    """List names, addresses and the keys of hosts; never a value."""
    owner, name = _scope(tenant, app)
    with connected_farm() as farm:
        found = [one for one in farm.credentials(owner) if name is None or one.app in (None, name)]
    _print(found, as_json=as_json)


def _change(name: str, new: NewCredential | None, scope: tuple[str, str | None], *, as_json: bool) -> None:
    tenant, app = scope
    with connected_farm() as farm:
        found = farm.set_credential(name, new, tenant=tenant, app=app)
        if isinstance(farm, library.Farm):  # else the API has noted it
            _note(farm, "credentials.set" if new else "credentials.remove", f"{tenant}/{app or ''} {name}", tenant)
    _print([one for one in found if (one.tenant, one.app) == scope], as_json=as_json)


def _note(farm: library.Farm, verb: str, what: str, tenant: str) -> None:
    try:
        who = getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        who = str(os.getuid())
    entry = access.AuditEntry(who=who, token="", tenant=tenant, verb=verb, object=what, result="done", address="local")
    access.Audit(farm.database).add(entry)


def _scope(tenant: str | None, app: str | None) -> tuple[str, str | None]:
    if (tenant is None) == (app is None):
        raise click.UsageError("Name one of --tenant and --app.")
    owner, slash, name = (app or "").partition("/")
    if app is not None and not slash:
        raise click.UsageError(f"--app {app}: write it as TENANT/APP.")
    return tenant or owner, name or None


def _value(path: Path | None, kind: str) -> str:
    if kind == "public" and path is None:
        return ""
    try:
        text = path.read_text() if path else sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"{path or 'Standard input'} cannot be read: {error}.", advice="Name a text file."
        ) from error
    return text if kind == "ssh-key" else text.strip()


def _print(found: list[CredentialView], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([one.model_dump(mode="json") for one in found]))
        return
    rows = display.table("whose", "credential", "kind", "for", "host keys")
    for one in found:
        whose = "/".join(filter(None, (one.tenant, one.app)))
        keys = "\n".join(one.host_keys) + (" (learned)" if one.learned else "")
        kind = ", ".join([one.kind, *["submodules"] * one.submodules, *["lfs"] * one.lfs])
        rows.add_row(whose, one.name, kind, one.address, keys)
    display.terminal().print(rows)

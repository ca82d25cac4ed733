"""``buildfarm hooks``: which pushes of a repository build which app."""

from __future__ import annotations

import getpass
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from buildfarm import LazyModule
from buildfarm.cli.error_handler import connected_farm, json_option
from buildfarm.errors import RequestError

if TYPE_CHECKING:
    from buildfarm import access
    from buildfarm import farm as library
    from buildfarm.cli import show as display
    from buildfarm.client import Client
    from buildfarm.farm import Farm
    from buildfarm.sources.pushes import hook as terms
    from buildfarm.sources.pushes.hook import HookView
else:
    access = LazyModule("buildfarm.access")
    library = LazyModule("buildfarm.farm")
    display = LazyModule("buildfarm.cli.show")
    terms = LazyModule("buildfarm.sources.pushes.hook")

_TOKEN = "BUILDFARM_STATUS_TOKEN"


@click.group()
def hooks() -> None:
    """Build what is pushed to a repository on GitHub, GitLab, Gitea, Forgejo or Bitbucket.

    docs/push-webhooks.md has the settings of each of them.
    """


@hooks.command()
@click.argument("app", metavar="TENANT/APP")
@click.argument("repository", metavar="URL")
@click.option("--provider", required=True, help="github, gitlab, gitea (Forgejo too) or bitbucket.")
@click.option("--branch", default="main", show_default=True, help="Pushes to it are built.")
@click.option("--path", "paths", multiple=True, metavar="PATTERN", help="Only if such a file changes; !PATTERN: not.")
@click.option("--project-dir", default="", metavar="FOLDER", help="The app's folder; its files are the paths then.")
@click.option("--run-policy", default="latest_queued", show_default=True, help="all, latest_queued or latest_always.")
@click.option("--pull-requests", is_flag=True, help="Build each pull request as an app, APP-pr-NUMBER.")
@click.option("--forks", is_flag=True, help="Those of forks too: their authors can read what builds can read.")
@click.option(
    "--preview-hours", type=float, default=72, show_default=True, help="After its last push such an app ends."
)
@click.option("--api", metavar="URL", help="The forge's API, if it is not where its address says.")
@click.option("--page", metavar="URL", help="This farm as its users and the forge reach it.")
@click.option("--status-token-file", type=click.Path(path_type=Path), help=f"Token for commit statuses. Or: {_TOKEN}.")
@json_option
def make(*, app: str, status_token_file: Path | None, as_json: bool, **values: Any) -> None:
    """Make a push hook for an app, and print its address and secret.

    Enter both in the forge's settings. The secret is shown this once. With a status token, the forge shows what became
    of each commit's build.
    """
    tenant, slash, name = app.partition("/")
    if not slash:
        raise click.UsageError(f"{app}: write it as TENANT/APP.")
    try:
        new = terms.NewHook(tenant=tenant, app=name, status_token=_token(status_token_file), **values)
    except ValidationError as error:
        wrong = error.errors(include_input=False)[0]
        where = ".".join(map(str, wrong["loc"]))
        reason = str(wrong["msg"]).removeprefix("Value error, ")
        raise RequestError(
            f"{where}: {reason}." if where else f"{reason}.", advice="See docs/push-webhooks.md."
        ) from None
    with connected_farm() as farm:
        made = farm.make_hook(new)
        _note(farm, "hook.make", made)
    if as_json:
        click.echo(made.model_dump_json())
        return
    click.echo(f"hook    {made.id}\nurl     {made.url}\nsecret  {made.secret}")
    click.echo("Enter both in the repository's settings now: the secret is not shown again.", err=True)


@hooks.command(name="list")
@click.option("--tenant", help="Those of one tenant.")
@json_option
def list_hooks(tenant: str | None, as_json: bool) -> None:
    """List push hooks, and what became of the newest delivery to each."""
    with connected_farm() as farm:
        found = farm.hooks(tenant)
    if as_json:
        click.echo(json.dumps([one.model_dump(mode="json") for one in found]))
        return
    rows = display.table("hook", "app", "repository", "branch", "newest delivery")
    for one in found:
        at = datetime.fromtimestamp(one.last_at, UTC).strftime("%Y-%m-%d %H:%M UTC ") if one.last_at else ""
        rows.add_row(one.id, f"{one.tenant}/{one.app}", one.repository, one.branch, f"{at}{one.last or 'none'}")
    display.terminal().print(rows)


@hooks.command()
@click.argument("hook", metavar="HOOK")
def remove(hook: str) -> None:
    """Remove a push hook; the apps of its pull requests end."""
    with connected_farm() as farm:
        removed = farm.remove_hook(hook)
        if removed is not None:
            _note(farm, "hook.remove", removed)
    click.echo(f"Hook {hook} is removed.")


def _token(path: Path | None) -> str:
    if path is None:
        return os.environ.get(_TOKEN, "")
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} cannot be read: {error}.", advice="Name a text file with the token.") from error


def _note(farm: Farm | Client, verb: str, hook: HookView) -> None:
    if not isinstance(farm, library.Farm):
        return  # the API has noted it
    try:
        who = getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        who = str(os.getuid())
    what = f"{hook.id} {hook.app} {hook.repository}"
    entry = access.AuditEntry(
        who=who, token="", tenant=hook.tenant, verb=verb, object=what, result="done", address="local"
    )
    access.Audit(farm.database).add(entry)

"""The edge of every command: failures become one sentence, or one JSON object, and an exit code."""

from __future__ import annotations

import enum
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from buildfarm import LazyModule
from buildfarm.cli.extras import missing_extra
from buildfarm.errors import (
    AppError,
    BuildfarmError,
    FarmError,
    Interruption,
    QueueFullError,
    RequestError,
    SetupError,
)

if TYPE_CHECKING:
    from buildfarm import client as over_http
    from buildfarm import farm as library
    from buildfarm import settings as settings_module
    from buildfarm import telemetry
    from buildfarm.client import Client
    from buildfarm.farm import Farm
else:
    over_http = LazyModule("buildfarm.client")
    library = LazyModule("buildfarm.farm")
    settings_module = LazyModule("buildfarm.settings")
    telemetry = LazyModule("buildfarm.telemetry")

_F = TypeVar("_F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


class Exit(enum.IntEnum):
    """What a command ends with; docs/cli.md explains them to users."""

    DONE = 0
    APP_FAULT = 1
    USAGE = 2
    SETUP = 3
    FARM_FAULT = 4
    CANCELLED = 5
    INTERRUPTED = 130


class FarmGroup(click.Group):
    """A group whose commands may raise the farm's own errors."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; a BuildfarmError ends the process with its sentence and code."""
        ctx.color = wanted_colour(os.environ)  # click asks the terminal alone
        try:
            return super().invoke(ctx)
        except BuildfarmError as error:
            fail(error)
        except ModuleNotFoundError as error:
            found = missing_extra(error)
            if found is None:
                raise
            fail(found)
        except KeyboardInterrupt:
            sys.exit(Exit.INTERRUPTED)


def wanted_colour(environment: Mapping[str, str]) -> bool | None:
    """Whether the user asks for colours (no-color.org, bixense.com/clicolors); None: only a terminal gets them."""
    if environment.get("NO_COLOR"):
        return False
    if environment.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return False if environment.get("CLICOLOR") == "0" or environment.get("TERM") == "dumb" else None


def fail(error: BuildfarmError) -> NoReturn:
    """End the process with the error's sentence and exit code."""
    tell(error)
    sys.exit(exit_code(error))


def exit_code(error: BuildfarmError) -> Exit:
    """The exit code, by which a script sees whose fault an error is."""
    for kind, code in (
        (AppError, Exit.APP_FAULT),
        (FarmError, Exit.FARM_FAULT),
        (SetupError, Exit.SETUP),
        (Interruption, Exit.CANCELLED),
    ):
        if isinstance(error, kind):
            return code
    return Exit.USAGE


@contextmanager
def connected_farm() -> Iterator[Farm | Client]:
    """The farm that this process's settings name: over HTTP where they name its API, else by Redis and the registry."""
    settings = settings_module.read_settings()
    telemetry.set_up_logging(settings)
    if settings.url:
        token = settings.token.get_secret_value()
        if not token:
            raise RequestError(
                "The API's address is set, but no token is.", advice="Set BUILDFARM_TOKEN, or name a --token-file."
            )
        with over_http.Client(settings.url, token) as client:
            yield client
        return
    with library.open_farm(settings) as farm:
        yield farm


@contextmanager
def inside_farm() -> Iterator[Farm]:
    """The farm by Redis and the registry, for what the API does not offer. Raises RequestError if one is named."""
    settings = settings_module.read_settings()
    telemetry.set_up_logging(settings)
    if settings.url:
        raise RequestError("This works only on the farm's own machines.", advice="Leave out --url and BUILDFARM_URL.")
    with library.open_farm(settings) as farm:
        yield farm


def tell(error: BuildfarmError) -> None:
    """An error for people, or as JSON for scripts."""
    # Only the command's own flag decides; the error itself may come from before the flag was read.
    if "--json" in sys.argv:
        content: dict[str, object] = {"code": error.code, "message": error.message, "advice": error.advice}
        if isinstance(error, QueueFullError):
            content["retry_after_seconds"] = error.retry_after_seconds
        click.echo(json.dumps({"error": content}))
    else:
        click.secho(f"{error.code}: {error.message}", fg="red", err=True)
        if error.advice:
            click.echo(error.advice, err=True)

"""The edge of every command: failures become one sentence, or one JSON object, and an exit code."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from buildfarm.client import Client
from buildfarm.errors import (
    AppError,
    BuildfarmError,
    FarmError,
    Interruption,
    QueueFullError,
    RequestError,
    SetupError,
)
from buildfarm.farm import Farm, open_farm
from buildfarm.settings import read_settings
from buildfarm.telemetry import set_up_logging

_F = TypeVar("_F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON in place of text.")


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
        try:
            return super().invoke(ctx)
        except BuildfarmError as error:
            tell(error)
            sys.exit(exit_code(error))
        except KeyboardInterrupt:
            sys.exit(Exit.INTERRUPTED)


def exit_code(error: BuildfarmError) -> Exit:
    """The exit code that tells a script whose fault an error is."""
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
    settings = read_settings()
    set_up_logging(settings)
    if settings.url:
        token = settings.token.get_secret_value()
        if not token:
            raise RequestError(
                "The API is named and no token is.", advice="Put one into BUILDFARM_TOKEN, or name its --token-file."
            )
        with Client(settings.url, token) as client:
            yield client
        return
    with open_farm(settings) as farm:
        yield farm


@contextmanager
def inside_farm() -> Iterator[Farm]:
    """The farm by Redis and the registry, for what the API does not offer. Raises RequestError where one is named."""
    settings = read_settings()
    set_up_logging(settings)
    if settings.url:
        raise RequestError("This works on the farm's own machines only.", advice="Leave out --url and BUILDFARM_URL.")
    with open_farm(settings) as farm:
        yield farm


def sentence_of(error: ValidationError) -> str:
    """What is wrong with a request, without the model's inner names."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "string_pattern_mismatch":
        wanted = _GRAMMARS.get(place.rpartition(".")[2], "letters, digits and dashes")
        return f"{str(first['input'])[:80]!r} cannot be the {place}: use {wanted}."
    return f"{first['msg'].removeprefix('Value error, ')} ({place})."


_GRAMMARS = {
    "tenant": "1 to 30 lower-case letters, digits and dashes, not at the ends",
    "app": "1 to 30 lower-case letters, digits and dashes, not at the ends",
    "url": "an address that starts with https://, http://, ssh:// or git://",
    "sha256": "64 hexadecimal digits in lower case",
    "build_class": "lower-case letters and digits",
    "idempotency_key": "1 to 255 printable characters without a space",
    "ref": "a branch, a tag or a commit id",
}


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

"""The command ``buildfarm``: arguments in, text or JSON out, and an exit code that scripts can use."""

from __future__ import annotations

import atexit
import os
import sys
from gc import freeze, set_threshold  # the module's name is that of a command's, which takes its place here
from pathlib import Path
from typing import Any

import click

from buildfarm.cli.table import Entry, TableGroup

COMMANDS = {
    "api": Entry("buildfarm.cli.api:api", "Serve the API and its page in the foreground."),
    "apps": Entry("buildfarm.cli.details.apps:apps", "Show an app's image, choose its base, or move it to another."),
    "archive": Entry("buildfarm.cli.gc:archive", "Find archived builds again after a restore."),
    "audit": Entry("buildfarm.cli.api:audit", "Show who did what."),
    "base": Entry("buildfarm.cli.details.bases.base:base", "Show how current the images are that apps stand on."),
    "build": Entry("buildfarm.cli.build:build", "Build a directory, a git repository or an archive."),
    "builder": Entry("buildfarm.cli.nodes:builder", "Show the builder image, or promote another one."),
    "buildpacks": Entry("buildfarm.cli.buildpacks:buildpacks", "Choose the buildpacks for apps that name none."),
    "cancel": Entry("buildfarm.cli.builds:cancel", "End a build that waits or runs."),
    "cells": Entry("buildfarm.cli.api:cells", "Configure a proxy for several farms."),
    "channels": Entry("buildfarm.cli.details.channels:channels", "Show and set the bases that apps follow."),
    "compare": Entry("buildfarm.cli.details.compare:compare", "Show what differs between two builds."),
    "credentials": Entry(
        "buildfarm.cli.details.credentials:credentials", "Set keys and tokens for private repositories and buildpacks."
    ),
    "doctor": Entry("buildfarm.cli.local:doctor", "Check what this machine lacks for `up`."),
    "down": Entry("buildfarm.cli.local:down", "Take the farm down; running builds end first."),
    "env": Entry(
        "buildfarm.cli.details.variables:env", "Set variables for all builds: proxies, mirrors, certificates."
    ),
    "gc": Entry("buildfarm.cli.gc:gc", "Remove from the registry what nothing refers to."),
    "hooks": Entry("buildfarm.cli.details.hooks:hooks", "Build what is pushed to a repository."),
    "images": Entry("buildfarm.cli.images:images", "Build the farm's own images."),
    "limits": Entry("buildfarm.cli.queue:limits", "Show and set the limits of tenants and apps."),
    "list": Entry("buildfarm.cli.builds:list_builds", "List the newest builds."),
    "logs": Entry("buildfarm.cli.details.logs:logs", "Print the log of a build."),
    "nodes": Entry("buildfarm.cli.nodes:nodes", "List the build nodes, or drain one."),
    "open": Entry("buildfarm.cli.details.page:open_page", "Open the farm's page, or that of a build, in a browser."),
    "plan": Entry("buildfarm.cli.plan:plan", "Show what a build of a directory would do, without building it."),
    "prewarm-host": Entry(
        "buildfarm.cli.details.bases.prewarm_host:prewarm_host", "Keep new bases on a host that runs apps."
    ),
    "queue": Entry("buildfarm.cli.queue:queue", "Show what waits, by class and by tenant."),
    "retention": Entry("buildfarm.cli.gc:retention", "Show and set what stays how long in the registry."),
    "rollback": Entry("buildfarm.cli.details.rollback:rollback", "Point an app's tag at an earlier image."),
    "rollouts": Entry("buildfarm.cli.details.rollouts:rollouts", "Move all apps to another base in waves."),
    "run": Entry("buildfarm.cli.local:run", "Run a process of an image on this machine."),
    "sbom": Entry("buildfarm.cli.details.components:sbom", "Print what is in an image: its bill of materials."),
    "show": Entry("buildfarm.cli.builds:show", "Show a build: its state, and its result or failure."),
    "status": Entry("buildfarm.cli.local:status", "Show which parts of the farm run."),
    "tokens": Entry("buildfarm.cli.api:tokens", "Make, list and revoke the tokens of the API."),
    "tools": Entry("buildfarm.cli.images:tools", "Make the build tools that nodes provide to builds."),
    "up": Entry("buildfarm.cli.local:up", "Bring the whole farm up on this machine."),
    "verify": Entry("buildfarm.cli.details.verify:verify", "Check that an image is signed by the farm."),
    "vulns": Entry("buildfarm.cli.details.vulns:vulns", "Match an image with a file of known vulnerabilities."),
    "where": Entry("buildfarm.cli.details.components:where", "List the apps that contain a component."),
}


class QuickGroup(TableGroup):
    """A process of its own, which starts and ends without work that is of no use to a command."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run a command and end the process."""
        # pydantic would look through all installed packages for plug-ins that the farm does not use: 20 ms.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
        # redis-py would import the metrics of OpenTelemetry, and httpx a command line, if they are installed: an eighth
        # of the start of `build`. The farm uses neither. None is what Python takes for a module that is not there.
        for name in ("opentelemetry.sdk.metrics", "httpx._main"):
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]
        # Python would look for garbage among the modules again and again while they are imported: 30 ms.
        set_threshold(100_000)
        # Nor is there anything to collect at the end, of all that was imported: 75 ms.
        atexit.register(freeze)
        return super().__call__(*arguments, **options)


@click.group(cls=QuickGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="buildfarm")
@click.option("--url", help="Use the farm's API there instead of Redis and the registry. Or: BUILDFARM_URL.")
@click.option("--token-file", type=click.Path(path_type=Path), help="File with the API's token. Or: BUILDFARM_TOKEN.")
def main(url: str | None, token_file: Path | None) -> None:
    """Turn source code into container images, on many build nodes.

    \b
    Exit codes:
      0    done
      1    the build failed by the app's fault
      2    wrong usage or request
      3    the farm cannot be set up
      4    the farm's fault
      5    the build was cancelled or superseded
      130  interrupted
    """
    # Settings are read from the environment, by whichever command follows.
    if url:
        os.environ["BUILDFARM_URL"] = url
    if token_file:
        try:
            os.environ["BUILDFARM_TOKEN"] = token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"--token-file {token_file} cannot be read: {error}.") from error

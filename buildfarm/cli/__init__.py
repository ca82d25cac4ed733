"""The command ``buildfarm``: arguments in, text or JSON out, and an exit code that scripts can use."""

from __future__ import annotations

import os
from pathlib import Path

import click

from buildfarm.cli import api, build, buildpacks, builds, gc, images, local, nodes, queue, run
from buildfarm.cli.error_handler import FarmGroup


@click.group(cls=FarmGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="buildfarm")
@click.option("--url", help="Talk to the farm's API there, in place of Redis and the registry. Or: BUILDFARM_URL.")
@click.option("--token-file", type=click.Path(path_type=Path), help="File with the API's token. Or: BUILDFARM_TOKEN.")
def main(url: str | None, token_file: Path | None) -> None:
    """Turn source code into container images, on many build nodes.

    \b
    Exit codes: 0 done; 1 the build failed by the app's fault; 2 wrong usage or request;
    3 the farm cannot be set up; 4 the farm's fault; 5 the build was cancelled or superseded; 130 interrupted.
    """
    # Settings are read from the environment, by whichever command follows.
    if url:
        os.environ["BUILDFARM_URL"] = url
    if token_file:
        try:
            os.environ["BUILDFARM_TOKEN"] = token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"--token-file {token_file} cannot be read: {error}.") from error


for command in (
    local.up,
    local.down,
    local.status,
    build.build,
    buildpacks.buildpacks,
    run.run,
    builds.logs,
    builds.show,
    builds.list_builds,
    builds.cancel,
    queue.queue,
    queue.limits,
    nodes.nodes,
    nodes.builder,
    api.api,
    api.tokens,
    api.audit,
    images.images,
    gc.gc,
):
    main.add_command(command)

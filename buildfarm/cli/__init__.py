"""The command ``buildfarm``: arguments in, text or JSON out, and an exit code that scripts can use."""

from __future__ import annotations

import click

from buildfarm.cli import api, build, buildpacks, builds, images, local, nodes, queue, run
from buildfarm.cli.edge import FarmGroup


@click.group(cls=FarmGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="buildfarm")
def main() -> None:
    """Turn source code into container images, on many build nodes.

    \b
    Exit codes: 0 done; 1 the build failed by the app's fault; 2 wrong usage or request;
    3 the farm cannot be set up; 4 the farm's fault; 5 the build was cancelled or superseded; 130 interrupted.
    """


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
):
    main.add_command(command)

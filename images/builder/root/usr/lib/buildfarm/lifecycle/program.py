"""Runs a buildpack's program: its output goes to the build's log, its working directory is the app."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lifecycle.descriptor import Descriptor
from lifecycle.environment import add_user, without
from lifecycle.system import target_variables, this_system

APP = Path("/app")
PLATFORM = Path("/platform")
LAYERS = Path("/layers")
SPOOL = "/usr/libexec/buildfarm/spool"

# Of the classic contract, and of the farm; a Cloud Native Buildpack knows its own.
_NOT_OURS = ("APP_DIR", "GIT_DIR", "BUILDPACK_LOG_FILE")


def base_environment() -> dict[str, str]:
    """What every program starts from."""
    return without(os.environ, *_NOT_OURS)


def run(
    buildpack: Descriptor, name: str, arguments: Sequence[str], variables: Mapping[str, str], own: Mapping[str, str]
) -> int:
    """The exit code. ``variables`` are what layers made, ``own`` are this program's."""
    environment = dict(variables)
    if not buildpack.clear_env:
        add_user(environment, PLATFORM / "env")
    environment |= target_variables(this_system())
    environment |= {"CNB_PLATFORM_DIR": str(PLATFORM), "CNB_BUILDPACK_DIR": str(buildpack.folder), **own}
    if buildpack.api not in ("0.10", "0.11"):
        environment["CNB_EXEC_ENV"] = "production"
    program = buildpack.folder / "bin" / name
    sys.stderr.flush()
    try:
        # Standard output is where the node reads results from.
        done = subprocess.run(
            [*_spool(), str(program), *arguments],
            cwd=APP,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            check=False,
        )
    except OSError as error:
        print(
            f" !     bin/{name} of the buildpack {buildpack.id} cannot be run: {error.strerror}.",
            file=sys.stderr,
            flush=True,
        )
        return 126
    return done.returncode


def _spool() -> list[str]:
    """Takes the program's log at full speed, where it is installed: in the builder it is."""
    return [SPOOL] if os.access(SPOOL, os.X_OK) else []

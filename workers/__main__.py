"""``python -m workers``: a build node in the foreground. SIGTERM drains it."""

from __future__ import annotations

import sys

from buildfarm.cli.error_handler import fail
from buildfarm.cli.extras import missing_extra
from buildfarm.errors import BuildfarmError
from buildfarm.settings import read_settings
from buildfarm.telemetry import logger, set_up_logging

try:
    from workers.node import run, start_anew
except ModuleNotFoundError as absent:
    if (found := missing_extra(absent, "node")) is None:
        raise
    fail(found)


def main() -> int:
    """Returns the exit code: 0 after a drain, 3 if a setting cannot be read, 1 if the node cannot start."""
    try:
        settings = read_settings()
    except BuildfarmError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there are no settings to set logging up with
        return 3
    set_up_logging(settings)
    try:
        if run(settings):
            start_anew()
    except BuildfarmError as error:
        logger().error("node_ended", code=error.code, reason=error.message, advice=error.advice)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

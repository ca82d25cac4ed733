"""``python -m signer``: the signer in the foreground. SIGTERM ends it after the requests that it has begun."""

from __future__ import annotations

import sys

from buildfarm.errors import BuildfarmError
from buildfarm.settings import read_settings
from buildfarm.telemetry import logger, set_up_logging
from signer.process import run


def main() -> int:
    """Returns the exit code: 3 if a setting cannot be read, 1 if the signer cannot start."""
    try:
        settings = read_settings()
    except BuildfarmError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there are no settings to set logging up with
        return 3
    set_up_logging(settings)
    try:
        run(settings)
    except BuildfarmError as error:
        logger().error("signer_ended", code=error.code, reason=error.message, advice=error.advice)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

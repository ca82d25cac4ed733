"""A fleet on another base: ``python -m verify.fleet`` on a farm that is up; APPS and REAL_APPS make it smaller.

PART in the environment chooses one: rules, redis, bundled, apps, cost or signed.
"""

from __future__ import annotations

import os
import sys

from testkit.table import Claims
from verify.fleet import apps, bundled, redis_restarts, rules
from verify.queue import fleet as cost
from verify.queue import signed_fleet as signed

PARTS = {
    "rules": rules.run, "redis": redis_restarts.run, "bundled": bundled.run, "apps": apps.run, "cost": cost.run,
    "signed": signed.run,
}  # fmt: skip


def main() -> None:
    """Runs the parts and prints their rows as one table."""
    chosen = os.environ.get("PART", "")
    if chosen and chosen not in PARTS:
        sys.exit(f"There is no part {chosen}: choose one of {', '.join(PARTS)}.")
    claims = Claims("A fleet on another base")
    for name, part in PARTS.items():
        if chosen in ("", name):
            part(claims)
    claims.finish()


if __name__ == "__main__":
    os.environ.setdefault("BUILDFARM_LOG_LEVEL", "warning")
    main()

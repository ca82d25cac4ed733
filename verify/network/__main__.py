"""``make verify-network``: a table of claims about what is in front of a farm and around it."""

from __future__ import annotations

import sys

from testkit.table import Claims
from verify.network import addresses, bounds, clocks, closed_input, company, downloads, front, outages, registries


def _packages(claims: Claims) -> None:
    downloads.tell(claims)
    bounds.tell(claims)
    closed_input.tell(claims)
    company.tell(claims)


PARTS = {
    "front": front.tell, "outages": outages.tell, "clocks": clocks.tell, "addresses": addresses.tell,
    "registries": registries.tell,
    "downloads": _packages,
}  # fmt: skip


def main() -> None:
    """All parts, or those that are named."""
    claims = Claims("In front of a farm, and around it")
    for name in sys.argv[1:] or PARTS:
        PARTS[name](claims)
    claims.finish()


if __name__ == "__main__":
    main()

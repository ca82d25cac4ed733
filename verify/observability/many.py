"""How long the page takes in a farm with thousands of apps, most of whose builds are in the archive."""

from __future__ import annotations

import time

import httpx

from testkit.builds import farm_alone
from testkit.observability.many_apps import pages_of, seed
from testkit.serving import serving

APPS, BUILDS = 10_000, 100_000
CALLS = 100  # of each page
_SHARE = 0.95


def page_seconds(apps: int = APPS, builds: int = BUILDS) -> dict[str, float]:
    """Seconds within which 95 % of the answers came, by page."""
    with farm_alone("many-apps") as farm:
        there = seed(farm, apps, builds)
        paths = pages_of(there) | {"apps-later": f"/apps?after={_later(farm.database.now())}", "builds": "/"}
        with (
            serving(farm, BUILDFARM_API_CALLS_PER_HOUR="10000000") as api,
            httpx.Client(base_url=api.url, trust_env=False, timeout=30) as browser,
        ):
            browser.post("/sign-in", data={"token": api.token(None, "read", "admin")})
            return {name: _seconds(browser, path) for name, path in paths.items()}


def _later(now: float) -> str:
    """A position in the list of apps that most of them are above."""
    return f"{now - 39 * 86400:.6f} x/x"


def _seconds(browser: httpx.Client, path: str) -> float:
    taken = []
    for _ in range(CALLS):
        started = time.perf_counter()
        answer = browser.get(path)
        taken.append(time.perf_counter() - started)
        if answer.status_code != 200:
            raise RuntimeError(f"{path} was answered with {answer.status_code}: {answer.text[:500]}")
    return sorted(taken)[int(CALLS * _SHARE)]

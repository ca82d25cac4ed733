"""How long the page takes in a farm with thousands of apps, most of whose builds are in the archive.

``python -m verify.observability.many`` tries this promise alone.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from testkit.builds import farm_alone
from testkit.observability.many_apps import other_pages, pages_of, seed, set_something
from testkit.serving import Api, serving
from testkit.table import Claims

APPS, BUILDS = 10_000, 100_000
CALLS = 100  # of each page
PAGE_SECONDS_MAX = 0.1
_SHARE = 0.95
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class PageTime:
    """What one page takes: the median, what 95 % of the answers keep to, and the API's processor time of each."""

    name: str
    middle: float
    most: float
    processor: float

    def __str__(self) -> str:
        return (
            f"{self.name:<14} p50 {1000 * self.middle:5.1f} ms   p95 {1000 * self.most:5.1f} ms"
            f"   processor {1000 * self.processor:5.1f} ms"
        )


def many_apps(claims: Claims, apps: int = APPS, builds: int = BUILDS) -> None:
    """Each page of a farm that is a year old."""
    found = []
    for page in page_times(apps, builds):
        print(f"  {page}", flush=True)
        found.append(page)
    slowest = max(found, key=lambda page: page.most)
    figure = f"p95 of {len(found)} pages, the slowest {slowest.name}: {1000 * slowest.most:.0f} ms"
    claims.add(
        f"a page takes at most 100 ms with {apps:,} apps and {builds:,} builds", figure,
        slowest.most <= PAGE_SECONDS_MAX,
    )  # fmt: skip


def page_times(apps: int, builds: int) -> Iterator[PageTime]:
    """The time of each page, one page after another."""
    with farm_alone("many-apps") as farm:
        there = seed(farm, apps, builds)
        set_something(farm)
        paths = pages_of(there) | other_pages(there, farm.database.now())
        with (
            serving(farm, BUILDFARM_API_CALLS_PER_HOUR="10000000") as api,
            httpx.Client(base_url=api.url, trust_env=False, timeout=30) as browser,
        ):
            browser.post("/sign-in", data={"token": api.token(None, "read", "submit", "admin")})
            for name, path in paths.items():
                yield _time_of(name, browser, path, api)


def _time_of(name: str, browser: httpx.Client, path: str, api: Api) -> PageTime:
    taken, used = [], _processor_seconds(api.process.pid)
    for _ in range(CALLS):
        started = time.perf_counter()
        answer = browser.get(path)
        taken.append(time.perf_counter() - started)
        if answer.status_code != 200:
            raise RuntimeError(f"{path} was answered with {answer.status_code}: {answer.text[:500]}")
    used = _processor_seconds(api.process.pid) - used
    return PageTime(name, statistics.median(taken), sorted(taken)[int(CALLS * _SHARE)], used / CALLS)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS  # utime and stime: proc(5)


def main() -> None:
    """This promise alone."""
    claims = Claims("Pages of a farm with many apps")
    many_apps(claims)
    claims.finish()


if __name__ == "__main__":
    main()

"""A company's network: a proxy is the only way out, and the line is slow. Builds with the farm's cache and without."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from buildfarm.farm import Farm
from buildfarm.model import Phase, State
from buildfarm.settings import read_settings
from testkit.apps.company import company_farm
from testkit.apps.package_cache import PackageCache, package_cache
from testkit.builds import EXAMPLES, Builds, build_node, gateway_of, write_files
from testkit.cluster.forward_proxy import ForwardProxy
from testkit.table import Claims

# What many data apps have in common: few and large files.
_APP = {
    "requirements.txt": "numpy==2.2.6\npolars==1.30.0\npyarrow==20.0.0\nduckdb==1.3.0\n",
    "Procfile": "web: true\n",
}
_SLOW = 2_500_000.0  # bytes a second: 20 Mbit/s, which all builds share
_ROUNDS = 3
_FASTER_MIN = 2.0
_LISTS_SECONDS = 600.0  # that PyPI's lists of files are fresh; then they are asked for again, and come if they changed


@dataclass(frozen=True)
class _Company:
    farm: Farm
    proxy: ForwardProxy

    @contextmanager
    def node(self, cache: PackageCache | None = None) -> Iterator[Builds]:
        """A node whose builds have no cache of their app: each fetches all that it needs."""
        allowed = f"{gateway_of(self.farm.settings.sandbox_network)}/32:{self.proxy.url.rpartition(':')[2]}"
        url = cache.url if cache else ""
        with build_node(
            self.farm, BUILDFARM_SANDBOX_ALLOW=allowed, BUILDFARM_DOWNLOADS_URL=url, BUILDFARM_CACHE_BYTES="1"
        ) as node:
            yield Builds(self.farm, node)

    def tried(self, app: Path, cache: PackageCache | None, bytes_a_second: float) -> tuple[float, int]:
        """Seconds of the step compile on a node that is new, and bytes that came in over the line meanwhile."""
        line = self.proxy.line
        with self.node(cache) as built:
            before, line.bytes_a_second = line.carried, bytes_a_second
            build = built(app, app=f"app-{uuid.uuid4().hex[:8]}", cached_result=False)
            line.bytes_a_second = 0
        seconds = build.result.phase_seconds[Phase.COMPILE] if build.result else float("inf")
        return seconds, line.carried - before


def tell(claims: Claims) -> None:
    """Every example behind the proxy; then two apps of the same packages, on a slow line and on the line as it is."""
    with company_farm(read_settings()) as (farm, proxy), tempfile.TemporaryDirectory() as folder:
        company = _Company(farm, proxy)
        _examples(claims, company)
        app = write_files(Path(folder), _APP)
        with package_cache(gateway_of(farm.settings.sandbox_network), proxy=proxy.url) as cache:
            _second(claims, company, cache, app)


def _examples(claims: Claims, company: _Company) -> None:
    names = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir() and not (path / "__main__.py").exists())
    with company.node() as built:
        states = {name: built(EXAMPLES / name, app=name).state for name in names}
    failed = [name for name, state in states.items() if state is not State.SUCCEEDED]
    through = ", ".join(sorted(set(company.proxy.hosts)))
    figure = f"{len(names) - len(failed)} of {len(names)}; through it: {through}" + "".join(
        f"; not {x}" for x in failed
    )
    claims.add("behind a proxy that is the only way out every example builds", figure, not failed and bool(through))


def _second(claims: Claims, company: _Company, cache: PackageCache, app: Path) -> None:
    """Builds of the same packages in turn without the cache and with it, on a slow line and on the line as it is."""
    tried: dict[tuple[float, bool], list[tuple[float, int]]] = {}
    filled_at, first = -_LISTS_SECONDS, 0
    for number in range(_ROUNDS):
        for rate, is_cached in ((_SLOW, False), (_SLOW, True), (0.0, False), (0.0, True)):
            if not rate and number:  # once, to be seen beside it
                continue
            if is_cached and time.monotonic() - filled_at > _LISTS_SECONDS / 2:
                filled_at = time.monotonic()
                first = max(first, company.tried(app, cache, 0)[1])
            found = company.tried(app, cache if is_cached else None, rate)
            tried.setdefault((rate, is_cached), []).append(found)
    claims.add("behind the proxy the cache fetches what a first app needs", f"{first:,} bytes", first > 0)
    for rate, line in ((_SLOW, f"a line of {_SLOW * 8 / 1e6:.0f} Mbit/s"), (0.0, "the line as it is")):
        without, cached = tried[rate, False], tried[rate, True]
        came, saved = max(count for _, count in cached), min(count for _, count in without)
        faster = median(took for took, _ in without) / median(took for took, _ in cached)
        figure = (
            f"{came:,} bytes of {saved:,}; compile {_seconds(cached)} s with it, {_seconds(without)} s without: "
            f"{faster:.1f}x (medians)"
        )
        wanted = f" and compiles {_FASTER_MIN:.0f}x faster" if rate else ""
        is_met = came == 0 < saved and (not rate or faster >= _FASTER_MIN)
        claims.add(f"on {line}, a second app on another node downloads 0 bytes{wanted}", figure, is_met)


def _seconds(tried: list[tuple[float, int]]) -> str:
    return ", ".join(f"{took:.1f}" for took, _ in tried)

"""The promises about what is seen: ``python -m verify.observability`` on a machine whose Redis and registry are up."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from prometheus_client import generate_latest

from buildfarm.model import Build, Phase, State
from buildfarm.telemetry.metrics import Metrics
from localfarm.packages import ensure_packages, find_program
from monitoring.__main__ import ROOT
from testkit.cluster.shell import wait
from testkit.live import Live, live_farm
from testkit.observability import browser, prometheus
from testkit.observability.looking import look
from testkit.observability.pages import SHOTS, visit_all
from testkit.table import Claims
from verify.observability.followers import LINES, crowd_on, follow_together
from verify.observability.many import many_apps
from verify.observability.schema import try_schema

FOLLOWERS = 200
API_BYTES_MAX = 200_000_000
SLOWER_MAX = 0.05
COST_MAX = 0.01
SCHEMA_EXAMPLES = 40
ROUNDS = 12
# A build that works and logs it, for some seconds.
WORK = "for n in $(seq 40); do echo step $n; python3 -c 'sum(i * i for i in range(400_000))'; done"
_SCRAPE_SECONDS = 15.0  # how often Prometheus asks by its own default
_UNBOUND = {"BUILDFARM_API_CALLS_PER_HOUR": "10000000", "BUILDFARM_API_BUILDS_PER_MINUTE": "100000"}


def main() -> None:
    claims = Claims("Everything is seen")
    ensure_packages({**prometheus.PROGRAMS, **browser.PROGRAMS}, print)
    browser.ensure_fonts(print)
    many_apps(claims)
    with live_farm(**_UNBOUND) as live:
        dashboards(claims, live)
        pages(claims, live)
        followers(claims, live)
        cost(claims, live)
        schema(claims, live)
    claims.finish()


def dashboards(claims: Claims, live: Live) -> None:
    """Every expression asked of a Prometheus that scrapes a farm which builds."""
    seen = look(live)
    failed = [one for one in seen.drawn if one.error]
    empty = [one for one in seen.drawn if one.empty]
    figure = f"{len(seen.drawn)} expressions, {len(failed)} fail, {len(empty)} draw nothing"
    for one in empty:
        print(f"  {one.board}: {one.panel}: {one.expr} {one.error}")
    claims.add("every panel draws something", figure, not failed and not empty and len(seen.drawn) > 40)
    bad = [rule["name"] for rule in seen.rules if rule["health"] != "ok"]
    unknown = {name for rule in seen.rules for name in prometheus.metric_names(rule["query"]) - seen.names}
    all_there = {rule["name"] for rule in seen.rules} == prometheus.rule_names()
    figure = f"{len(seen.rules)} alerts, {len(bad)} fail, {len(unknown)} unknown metrics"
    claims.add("every alert is evaluated", figure, all_there and not bad and not unknown)
    claims.add("builds are exemplars", f"{seen.exemplars} exemplars", seen.exemplars > 0)
    for name, command in (
        ("check", ["check", "rules", "--lint-fatal", "helm/buildfarm/rules/buildfarm.yaml"]),
        ("test", ["test", "rules", "tests/observability/rules_test.yaml"]),
    ):
        done = subprocess.run(
            [str(find_program("promtool")), *command], cwd=ROOT, capture_output=True, text=True, check=False
        )
        told = "each alert fires in its test" if name == "test" else "rules are sound"
        last = (done.stdout + done.stderr).strip().splitlines()[-1].strip()
        claims.add(f"promtool {name} rules: {told}", last[:60], done.returncode == 0)
    with browser.chromium() as chromium:
        path = browser.draw_panels(chromium, seen.drawn, SHOTS)
    claims.add("a page draws each panel", str(path), path.stat().st_size > 0)


def pages(claims: Claims, live: Live) -> None:
    """Each page in light and dark, on a desk and a phone."""
    token = live.api.token(None, "read", "submit", "admin")
    violations, complaints = [], []
    with browser.chromium() as chromium:
        for dark in (False, True):
            for phone in (False, True):
                name = f"{'dark' if dark else 'light'}-{'phone' if phone else 'desktop'}"
                with browser.window(chromium, SHOTS, dark=dark, phone=phone) as tab:
                    violations += visit_all(tab, live, token, name)
                    complaints += tab.complaints
    for violation in [*violations, *complaints]:
        print(f"  {violation}")
    shots = len(list(SHOTS.glob("*.png")))
    claims.add("WCAG 2.2 AA on every page, by axe-core", f"{len(violations)} violations, {shots} shots", not violations)
    claims.add("no console error", f"{len(complaints)}", not complaints)
    tests = [f"tests/observability/test_{name}.py" for name in ("page", "apps_page")]
    done = subprocess.run(
        [str(ROOT / ".venv/bin/pytest"), "-q", *tests],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = done.stdout.strip().splitlines()[-1]
    claims.add(
        "browser: submit, watch, cancel, waterfall; apps, compare, search, settings",
        last,
        done.returncode == 0 and "skipped" not in last,
    )


def followers(claims: Claims, live: Live) -> None:
    """200 on one log; and builds beside 200, in turns with builds beside none."""
    crowd = follow_together(live, FOLLOWERS)
    figure = f"{crowd.complete} of {FOLLOWERS} got all {LINES} lines once, in {crowd.seconds:.0f} s"
    claims.add(f"{FOLLOWERS} followers lose no line", figure, crowd.complete == FOLLOWERS)
    claims.add(
        "the API stays within 200 MB", f"{crowd.rss_bytes / 1e6:.0f} MB at most", crowd.rss_bytes <= API_BYTES_MAX
    )
    pairs = [(_build(live, 0), _build(live, FOLLOWERS)) for _ in range(ROUNDS)]
    ratio = statistics.median(many / none for none, many in pairs)
    spread = sorted(many / none for none, many in pairs)
    figure = (
        f"x{ratio:.3f}, median of {ROUNDS} pairs (quartiles x{spread[ROUNDS // 4]:.3f} to x{spread[-ROUNDS // 4]:.3f})"
    )
    claims.add(f"{FOLLOWERS} followers slow a build by at most 5 %", figure, ratio <= 1 + SLOWER_MAX)


def _build(live: Live, count: int) -> float:
    """Seconds from a build's start to its end, with so many that have followed it since it was queued."""
    app = f"followed-{time.time_ns()}"
    # An app builds one at a time: the second waits for the first.
    first = live.submit_script("sleep 120", "shop", app)
    wait(lambda: live.farm.get(first.id).phase is Phase.COMPILE, f"build {first.id} does not compile")
    second = live.submit_script(WORK, "shop", app)
    with crowd_on(live, second.id, count) if count else nullcontext():
        live.farm.cancel(first.id)
        ended = live.farm.wait(second.id, timeout_seconds=120)
    if ended.finished_at is None or ended.started_at is None or ended.state is not State.SUCCEEDED:
        raise RuntimeError(f"build {ended.id} did not succeed: {ended.state} {ended.failure}")
    return ended.finished_at - ended.started_at


def cost(claims: Claims, live: Live) -> None:
    """What the metrics of one build take, with its share of the scrapes, against the farm's time of that build."""
    build = live.farm.wait(live.submit("python", "shop", "cost").id, timeout_seconds=120)
    if build.result is None or build.finished_at is None or build.started_at is None:
        raise RuntimeError(f"the build failed: {build.failure}")
    metrics = Metrics(tenants=True)
    requests = 40  # to the registry, of a build with three new layers: more than there are
    counting = _seconds(lambda: _count(metrics, build, requests))
    scrape = _seconds(lambda: generate_latest(metrics.registry))
    scrapes = (build.finished_at - build.started_at) / _SCRAPE_SECONDS
    share = (counting + scrape * scrapes) / build.result.farm_seconds
    figure = f"{share:.3%}: {counting * 1e3:.2f} ms of counting, {scrape * 1e3:.1f} ms a scrape"
    claims.add("metrics cost at most 1 % of a build's farm time", figure, share <= COST_MAX)


def _count(metrics: Metrics, build: Build, requests: int) -> None:
    """Every call that a node makes for one build."""
    if build.result is None:
        raise AssertionError("it was looked at before")
    metrics.attempt_begun(1)
    metrics.waited(0.1, build.id)
    for phase in Phase:
        metrics.phase_ended(phase, 0.1, build.id)
    for _ in range(requests):
        metrics.registry_answered("HEAD", "ok", 0.01)
    metrics.cache_restores.labels("hit").inc()
    metrics.image_made(build.result, build.id)
    metrics.attempt_ended("succeeded", "", "shop")
    metrics.build_ended("succeeded", 1.0, build.id)


def _seconds(call: Callable[[], object], rounds: int = 200) -> float:
    """The median time of a call."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def schema(claims: Claims, live: Live) -> None:
    """The API by its own description."""
    with tempfile.TemporaryDirectory() as folder:
        tried = try_schema(live.api, SCHEMA_EXAMPLES, Path(folder))
    if tried.code:
        print(tried.output[-6000:])
    figure = f"{tried.cases} cases, exit code {tried.code}"
    claims.add("schemathesis: no 500, no undocumented answer", figure, tried.code == 0)


if __name__ == "__main__":
    main()

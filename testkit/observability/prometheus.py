"""A real Prometheus (the distribution's) on the farm's metrics, and every panel and alert asked of it."""

from __future__ import annotations

import json
import math
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from localfarm.packages import find_program
from monitoring.__main__ import CHART, RULES

PROGRAMS = {"prometheus": "prometheus", "promtool": "prometheus"}
READY_SECONDS = 120.0
SCRAPE_SECONDS = 1
_RATE_INTERVAL = "30s"


@dataclass(frozen=True)
class Drawn:
    """A panel's expression, and what Prometheus answered: points by series, or why not."""

    board: str
    panel: str
    expr: str
    series: dict[str, list[tuple[float, float]]]
    error: str = ""

    @property
    def empty(self) -> bool:
        """Nothing to draw: no series, or no finite number in any."""
        return not any(math.isfinite(value) for points in self.series.values() for _, value in points)


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def get(self, path: str, **parameters: str | float) -> Any:
        """The data of an API call. Raises ValueError with Prometheus's own words."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30, trust_env=False).json()
        if answer["status"] != "success":
            raise ValueError(answer.get("error", "no reason"))
        return answer["data"]

    def scraped(self, targets: int) -> bool:
        """Whether this many targets are up and were scraped often enough for a rate."""
        up = [target for target in self.get("targets")["activeTargets"] if target["health"] == "up"]
        return len(up) >= targets

    def draw(self, board: str, panel: str, expr: str, seconds: float) -> Drawn:
        """The expression over the last seconds."""
        now = time.time()
        try:
            data = self.get("query_range", query=expr, start=now - seconds, end=now, step=2)
        except ValueError as error:
            return Drawn(board, panel, expr, {}, str(error))
        series = {
            json.dumps(found["metric"], sort_keys=True): [(at, float(value)) for at, value in found["values"]]
            for found in data["result"]
        }
        return Drawn(board, panel, expr, series)


@contextmanager
def prometheus(targets: Mapping[str, str], port: int) -> Iterator[Prometheus]:
    """Prometheus with the farm's own rules, scraping ``job → host:port``, for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="buildfarm-prometheus-") as folder:
        config = Path(folder) / "prometheus.yml"
        jobs = [{"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in sorted(targets.items())]
        intervals = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
        config.write_text(yaml.safe_dump({"global": intervals, "rule_files": [str(RULES)], "scrape_configs": jobs}))
        command = [
            str(find_program("prometheus")), f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage", "--log.level=warn",
        ]  # fmt: skip
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        found = Prometheus(f"http://127.0.0.1:{port}")
        try:
            _wait(found, process, Path(folder) / "log")
            yield found
        finally:
            process.terminate()
            process.wait(60)


def expressions() -> list[tuple[str, str, str]]:
    """(dashboard, panel, expression) of every panel of the files that the chart carries."""
    found = []
    for path in sorted((CHART / "dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        panels = [panel for panel in board["panels"] if panel.get("type") != "row"]
        panels += [inner for panel in board["panels"] for inner in panel.get("panels", ())]
        for panel in panels:
            found += [(path.stem, panel["title"], target["expr"]) for target in panel.get("targets", ())]
    return found


def filled(expr: str, seconds: int, variables: Mapping[str, str]) -> str:
    """The expression with what Grafana would put in."""
    expr = expr.replace("$__rate_interval", _RATE_INTERVAL).replace("$__range", f"{seconds}s")
    for name, value in variables.items():
        expr = re.sub(rf"\$(?:{name}\b|{{{name}}})", value, expr)
    return expr


def rule_names() -> set[str]:
    """Names of all alerts in the rule file."""
    rules = yaml.safe_load(RULES.read_text())
    return {rule["alert"] for group in rules["groups"] for rule in group["rules"]}


def metric_names(expr: str) -> set[str]:
    """The farm's metrics that an expression names."""
    return set(re.findall(r"\b(?:buildfarm|celery)_[a-z_]+", expr))


def _wait(found: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"Prometheus did not start:\n{log.read_text()[-2000:]}")
        try:
            if httpx.get(f"{found.url}/-/ready", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)

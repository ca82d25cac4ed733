"""A look at a live farm through Prometheus: what every panel draws, and what every alert says."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from testkit.live import Live
from testkit.observability.prometheus import Drawn, Prometheus, expressions, filled, prometheus
from testkit.serving import free_port

_SECONDS = 30
_STEADY_SECONDS = 6
_FILLED_SECONDS = 60  # so long a panel without a point is asked for again: builds end later on a busy machine


@dataclass(frozen=True)
class Look:
    """What was seen."""

    drawn: list[Drawn]
    rules: list[dict[str, Any]]
    names: set[str]  # of all metrics that were scraped
    exemplars: int


def look(live: Live) -> Look:
    """Lets the farm build, and asks everything while it does."""
    api_metrics = live.api.metrics_url.removeprefix("http://").removesuffix("/metrics")
    with prometheus({"buildfarm-node": live.node_metrics, "buildfarm-api": api_metrics}, free_port()) as server:
        deadline = time.monotonic() + 120
        while not server.scraped(2):
            if time.monotonic() > deadline:
                raise RuntimeError("Prometheus does not reach the farm's metrics")
            time.sleep(0.2)
        live.exercise()
        # Something runs and waits while the questions are asked.
        working = threading.Thread(target=live.exercise)
        working.start()
        time.sleep(_STEADY_SECONDS)
        try:
            return _ask(server)
        finally:
            working.join()


def _drawn(server: Prometheus, board: str, panel: str, expr: str, deadline: float) -> Drawn:
    """The panel as soon as it has a point, or as it is at the deadline."""
    while (found := server.draw(board, panel, expr, _SECONDS)).empty and not found.error:
        if time.monotonic() > deadline:
            break
        time.sleep(1)
    return found


def _ask(server: Prometheus) -> Look:
    variables = {"node": ".*", "tenant": "shop", "datasource": ""}
    deadline = time.monotonic() + _FILLED_SECONDS
    asked = [(board, panel, filled(expr, _SECONDS, variables)) for board, panel, expr in expressions()]
    drawn = [_drawn(server, *one, deadline) for one in asked]
    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    now = time.time()
    exemplars = server.get("query_exemplars", query="buildfarm_phase_seconds_bucket", start=now - 300, end=now)
    found = sum(len(series["exemplars"]) for series in exemplars)
    return Look(drawn, rules, set(server.get("label/__name__/values")), found)

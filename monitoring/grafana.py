"""Dashboards as Grafana's JSON, made with its own foundation SDK and read back to find what it would not know."""

from __future__ import annotations

import json
from typing import Any

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import StackingConfig
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from monitoring.panels import Board, Panel

_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_COLUMNS = 24
_HEIGHT = 8
_NUMBER_HEIGHT = 4


def encode(board: Board) -> str:
    """The dashboard's JSON. Raises ValueError if reading it back gives something else: unknown keys are dropped."""
    text = json.dumps(_build(board), cls=JSONEncoder, indent=2, sort_keys=True)
    again = json.dumps(models.Dashboard.from_json(json.loads(text)), cls=JSONEncoder, indent=2, sort_keys=True)
    if again != text:
        raise ValueError(f"the dashboard {board.name} does not survive reading back")
    return text + "\n"


def _build(board: Board) -> models.Dashboard:
    made = (
        builders.Dashboard(board.title)
        .uid(f"buildfarm-{board.name}")
        .description(board.told)
        .tags(["buildfarm"])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for name, query in board.variables:
        variable = (
            builders.QueryVariable(name)
            .label(name.capitalize())
            .datasource(_SOURCE)
            .query(query)
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
        # A board of one tenant shows one; nodes are looked at together.
        made = made.with_variable(variable.include_all(True).multi(True) if name == "node" else variable)
    identity = 0
    for title, panels in board.rows:
        made = made.with_row(builders.Row(title))
        width = _COLUMNS // len(panels) if all(panel.kind == "number" for panel in panels) else _COLUMNS // 2
        for panel in panels:
            identity += 1
            made = made.with_panel(_panel(panel, width).id(identity))
    return made.build()


def _panel(panel: Panel, width: int) -> Any:
    made: Any = stat.Panel() if panel.kind == "number" else timeseries.Panel().fill_opacity(12).min(0)
    if panel.kind == "stacked":
        made = made.fill_opacity(40).stacking(StackingConfig().mode(StackingMode.NORMAL))
    made = made.title(panel.title).description(panel.told).unit(panel.unit).datasource(_SOURCE)
    made = made.span(width).height(_NUMBER_HEIGHT if panel.kind == "number" else _HEIGHT)
    for index, (expr, legend) in enumerate(panel.queries):
        query = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(chr(ord("A") + index))
        query = query.datasource(_SOURCE).format(PromQueryFormat.TIME_SERIES)
        made = made.with_target(query.exemplar(True) if "histogram_quantile" in expr else query)
    return made

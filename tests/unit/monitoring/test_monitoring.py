"""Dashboards, alerts and their runbooks belong together, and the files are what monitoring/ makes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from monitoring.__main__ import CHART, RULES, files
from monitoring.alerts import ALERTS

ROOT = Path(__file__).parents[3]
BOARDS = sorted((CHART / "dashboards").glob("*.json"))


def panels(board):
    for panel in board["panels"]:
        yield from panel.get("panels", ()) if panel["type"] == "row" else (panel,)


def test_the_files_are_what_is_made_of_the_definitions():
    for path, text in files().items():
        assert path.read_text() == text, f"{path} is stale: make monitoring"


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_complete(path):
    board = json.loads(path.read_text())
    found = list(panels(board))
    assert board["uid"] == f"buildfarm-{path.stem}"
    assert len({panel["id"] for panel in found}) == len(found)
    assert len({panel["title"] for panel in found}) == len(found)
    for panel in found:
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_every_alert_has_its_runbook_and_every_runbook_its_alert():
    # Other pages there are procedures; an alert's page names it in its title.
    pages = {path.stem for path in (ROOT / "docs/runbooks").glob("*.md") if "(Buildfarm" in path.read_text()[:200]}
    assert pages == {alert.runbook for alert in ALERTS}
    for alert in ALERTS:
        assert f"({alert.name})" in (ROOT / f"docs/runbooks/{alert.runbook}.md").read_text().splitlines()[0]


def test_every_link_of_a_runbook_leads_somewhere():
    for path in (ROOT / "docs/runbooks").glob("*.md"):
        for link in re.findall(r"\]\(([^)]+\.md)\)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name} names {link}"


def test_every_alert_says_how_bad_it_is_and_where_to_read_on():
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert {rule["alert"] for rule in rules} == {alert.name for alert in ALERTS}
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert (ROOT / rule["annotations"]["runbook_url"]).exists()


def test_every_metric_of_the_farm_is_in_its_document():
    from prometheus_client import CollectorRegistry

    from buildfarm.api.metrics import ApiMetrics
    from buildfarm.telemetry.metrics import Metrics
    from signer.report import Report

    def names(registry: CollectorRegistry):
        return {metric.name for metric in registry.collect()}

    document = (ROOT / "docs/metrics.md").read_text()
    declared = names(Metrics(tenants=True).registry) | names(ApiMetrics().registry) | names(Report().registry)
    source = (ROOT / "buildfarm/api/collector.py").read_text()
    declared |= set(re.findall(r'"((?:buildfarm|celery)_[a-z_]+)"', source))
    named = {name.removesuffix("_total") for name in re.findall(r"`((?:buildfarm|celery)_[a-z_]+)", document)}
    assert named == declared

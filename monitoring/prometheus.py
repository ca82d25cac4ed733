"""Alerts as Prometheus's rule file, and the test that fires each of them, for promtool."""

from __future__ import annotations

from typing import Any

import yaml

from monitoring.alerts import ALERTS, Alert

_HEAD = "# Made by `make monitoring` from monitoring/alerts.py; change it there.\n"
RUNBOOKS = "docs/runbooks"


def rules() -> str:
    """The rule file."""
    group = {"name": "buildfarm", "rules": [_rule(alert) for alert in ALERTS]}
    return _HEAD + yaml.safe_dump({"groups": [group]}, sort_keys=False, width=1000)


def tests(rule_file: str) -> str:
    """promtool's test of the rule file, named relative to the test: no alert at first, each one in the end."""
    values = {"rule_files": [rule_file], "evaluation_interval": "1m", "tests": [_test(alert) for alert in ALERTS]}
    return _HEAD + yaml.safe_dump(values, sort_keys=False, width=1000)


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        **({"for": alert.after} if alert.after != "0m" else {}),
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "runbook_url": f"{RUNBOOKS}/{alert.runbook}.md"},
    }


def _test(alert: Alert) -> dict[str, Any]:
    fired = {
        "exp_labels": {"severity": alert.severity, **dict(alert.labels)},
        "exp_annotations": {**_rule(alert)["annotations"], "summary": alert.told},
    }
    return {
        "name": alert.name,
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in alert.fires_with],
        "alert_rule_test": [
            {"eval_time": "0m", "alertname": alert.name, "exp_alerts": []},
            {"eval_time": alert.fires_after, "alertname": alert.name, "exp_alerts": [fired]},
        ],
    }

"""Every panel and every alert, asked of a real Prometheus that scrapes a farm which builds."""

from __future__ import annotations

import subprocess

import pytest

from localfarm.packages import find_program
from testkit.observability.looking import look
from testkit.observability.prometheus import metric_names, rule_names


@pytest.fixture(scope="module")
def looked(live):
    return look(live)


def test_every_panel_draws_something(looked):
    assert len(looked.drawn) > 40
    assert not [(one.board, one.panel, one.error) for one in looked.drawn if one.error]
    assert not [(one.board, one.panel, one.expr) for one in looked.drawn if one.empty]


def test_every_alert_is_evaluated_and_names_only_metrics_that_are_there(looked):
    assert {rule["name"] for rule in looked.rules} == rule_names()
    assert not [(rule["name"], rule.get("lastError")) for rule in looked.rules if rule["health"] != "ok"]
    for rule in looked.rules:
        assert metric_names(rule["query"]) <= looked.names, rule["name"]


def test_no_alert_fires_on_a_farm_that_is_well(looked):
    assert not [rule["name"] for rule in looked.rules if rule["state"] == "firing"]


def test_builds_are_exemplars(looked):
    assert looked.exemplars > 0


@pytest.mark.parametrize("command", [["check", "rules", "--lint-fatal", "helm/buildfarm/rules/buildfarm.yaml"],
                                     ["test", "rules", "tests/observability/rules_test.yaml"]])  # fmt: skip
def test_promtool_accepts_the_rules_and_fires_each_alert(live, command):
    done = subprocess.run([find_program("promtool"), *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

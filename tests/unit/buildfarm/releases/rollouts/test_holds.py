"""Who may end a hold of an app."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from buildfarm.errors import ConflictError
from buildfarm.releases.rollouts import observations, outside
from buildfarm.releases.rollouts.observations import Hold
from buildfarm.releases.rollouts.outside import Outside

NOW = 1_000_000.0


class Holds:
    """Those of one test."""

    kept: dict[str, Hold]

    def __init__(self, database):
        """Needs none."""

    def active(self):
        return self.kept

    def put(self, app, hold):
        self.kept.pop(app, None)
        if hold:
            self.kept[app] = hold


@pytest.fixture
def people(monkeypatch):
    monkeypatch.setattr(outside, "Holds", Holds)
    Holds.kept = {}
    database = SimpleNamespace(now=lambda: NOW)
    records = SimpleNamespace(database=database, tag_target=lambda target: "sha256:1")
    return Outside(SimpleNamespace(records=records), "ops")


def test_a_tenant_cannot_change_a_hold_of_the_operators(people):
    people.hold("shop/web", "an attack", 30)
    with pytest.raises(ConflictError, match="operators hold the app shop/web: an attack"):
        people.release("shop/web", by_tenant=True)
    with pytest.raises(ConflictError, match="operators hold"):
        people.hold("shop/web", "mine", 0.001, by_tenant=True)
    people.release("shop/web")
    assert people.holds() == []


def test_a_tenant_ends_its_own_hold_and_so_do_operators(people):
    for by_tenant in (True, False):
        people.hold("shop/web", "an audit", 1, by_tenant=True)
        people.release("shop/web", by_tenant=by_tenant)
        assert people.holds() == []


def test_a_hold_that_an_older_version_has_written_is_the_operators():
    text = '{"until": 2000000, "reason": "an audit", "actor": "ops"}'
    client = SimpleNamespace(hgetall=lambda key: {"shop/web": text})
    database = SimpleNamespace(client=client, key=lambda name: name, now=lambda: NOW, failures=nullcontext)
    assert observations.Holds(database).active() == {"shop/web": Hold(2_000_000, "an audit", "ops", by_tenant=False)}

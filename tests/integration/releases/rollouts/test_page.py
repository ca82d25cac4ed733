"""The page's rollouts, without a browser: waves, numbers, apps with their reasons, and who may change a rollout."""

from __future__ import annotations

import re
from contextlib import contextmanager

import httpx
import pytest

from buildfarm.access import Audit
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.reports import Status
from buildfarm.releases.rollouts.rules.states import Phase
from testkit.serving import serving


@pytest.fixture
def api(fleet):
    with serving(fleet.farm, BUILDFARM_REGISTRY_URL=fleet.farm.settings.registry_url) as api:
        yield api


@contextmanager
def browser(api, tenant, *scopes):
    with httpx.Client(base_url=api.url, trust_env=False, timeout=30) as found:
        assert found.post("/sign-in", data={"token": api.token(tenant, *scopes)}).status_code == 303
        yield found


def test_an_operator_sees_a_rollout_and_decides(api, fleet):
    rollout = fleet.start(rules=Parameters(cohorts=("1", "50%", "100%"), soak_seconds=0))
    fleet.turn()
    [canary] = fleet.moved(rollout.id)
    fleet.report(canary, Status.UNHEALTHY)
    fleet.turn(2)
    path = f"/rollouts/{rollout.id}"
    with browser(api, None, "read", "admin") as tab:
        assert f'href="{path}"' in tab.get("/rollouts").text
        page = tab.get(path).text
        assert "1 app became unhealthy on the new base" in page
        assert "it became unhealthy on the new base" in page, "the app's own reason"
        assert re.search(r"1 of 1</b><span>failures that count, of the budget", page)
        assert page.index(f'href="/apps/{canary}"') < min(
            page.index(f'href="/apps/{n}"') for n in fleet.apps if n != canary
        )
        assert f'All</a>\n<a href="{path}?state=reverted">1 reverted' in page
        waiting = tab.get(path, params={"state": "waiting"}).text
        assert f'href="/apps/{canary}"' not in waiting
        refresh = re.search(r'hx-get="([^"]+)"', page)[1].replace("&amp;", "&")
        assert tab.get(refresh, headers={"HX-Request": "true"}).status_code == 204, "nothing has changed"
        refused = tab.post(f"{path}/resume", data={"reason": ""})
        assert refused.status_code == 422
        assert "reason" in refused.text
        assert tab.post(f"{path}/resume", data={"reason": "its own fault", "allow": "1"}).status_code == 303
        part = tab.get(refresh, headers={"HX-Request": "true"})
        assert part.status_code == 200
        assert "its own fault" in part.text
        assert "<html" not in part.text
        assert tab.post(f"{path}/abort", data={"reason": "a regression"}).status_code == 303
        assert tab.get("/rollouts/r999").status_code == 404
    assert fleet.farm.rollout(rollout.id).phase is Phase.ABORTING
    verbs = [entry.verb for entry in Audit(fleet.farm.database).newest(10)]
    assert {"rollouts.resume", "rollouts.abort"} <= set(verbs)


def test_readers_change_nothing_and_tenants_see_nothing(api, fleet):
    rollout = fleet.start()
    path = f"/rollouts/{rollout.id}"
    with browser(api, None, "read") as tab:
        assert "formaction" not in tab.get(path).text
        assert tab.post(f"{path}/pause", data={"reason": "no"}).status_code == 403
    with browser(api, "tenant-0", "read", "submit") as tab:
        assert tab.get("/rollouts").status_code == 403
        assert tab.get(path).status_code == 403
        assert "/rollouts" not in tab.get("/apps").text
    assert fleet.farm.rollout(rollout.id).phase is Phase.CANARY


def test_metrics_say_what_alerts_need(api, fleet):
    rules = Parameters(cohorts=("100%",), failure_budget=1, report_timeout_seconds=0.001)
    rollout = fleet.start(rules=rules)
    fleet.turn()
    told = httpx.get(api.metrics_url, trust_env=False, timeout=30).text
    assert 'buildfarm_rollouts{phase="paused"} 1.0' in told
    assert 'buildfarm_rollout_apps{state="announced"} 10.0' in told
    assert "buildfarm_rollout_silent_apps 10.0" in told
    [created] = re.findall(r"(?m)^buildfarm_rollout_created_timestamp_seconds (\S+)", told)
    assert float(created) == pytest.approx(fleet.farm.rollout(rollout.id).created_at, abs=1)

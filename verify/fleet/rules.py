"""The rules of rollouts as rows: each row is met if its integration tests pass, on a separate registry."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testkit.table import Claims

ROOT = Path(__file__).parents[2]
_RELEASES = "tests/integration/releases/"
_ROLLOUTS, _LEADER = f"{_RELEASES}rollouts/test_rollouts.py", f"{_RELEASES}rollouts/test_leader.py"
_FACTS, _CHANNELS = f"{_RELEASES}test_facts.py", f"{_RELEASES}test_builds_on_channels.py"
_HOSTS, _WAVES = f"{_RELEASES}rollouts/test_prewarmed_hosts.py", "tests/unit/buildfarm/releases/rollouts/test_waves.py"
_MACHINE = "tests/unit/buildfarm/releases/rollouts/test_rollout_machine.py"
_CAMPAIGN = "tests/unit/buildfarm/releases/rollouts/test_campaign_machine.py"
_LIMITS = "tests/unit/buildfarm/releases/rollouts/test_campaign_limits.py"

RULES: dict[str, tuple[tuple[str, str], ...]] = {
    "a canary that fails goes back, and the rollout pauses": (
        (_ROLLOUTS, "test_a_failing_canary_goes_back_and_the_rollout_pauses"),
    ),
    "without reports it pauses; late, doubled and unordered ones change nothing": (
        (_WAVES, "test_no_report_is_not_health"),
        (_ROLLOUTS, "test_reports_may_come_late_twice_and_out_of_order"),
        (_ROLLOUTS, "test_a_report_from_an_earlier_rollout_to_the_same_base_does_not_count"),
    ),
    "reports for an unknown image or another tenant's app are refused": (
        (_ROLLOUTS, "test_a_report_about_another_image_or_app_is_refused"),
    ),
    "every app of a wave fails at once: no more than the budget are unhealthy": (
        (_ROLLOUTS, "test_every_app_of_a_wave_fails_at_once"),
        (_ROLLOUTS, "test_no_more_apps_move_than_the_budget_leaves"),
    ),
    "whatever apps, reporters and people do, the budget is kept": ((_MACHINE, "TestFarm"),),
    "the leader is killed in mid-wave: another node goes on": (
        (_LEADER, "test_another_node_goes_on_when_the_leader_is_killed_in_a_wave"),
        (_ROLLOUTS, "test_two_engines_at_once_do_no_harm"),
    ),
    "Redis loses its newest writes in mid-wave: a pause stays, and the rest moves": (
        (_ROLLOUTS, "test_a_paused_rollout_stays_paused_when_redis_has_lost_its_newest_writes"),
    ),
    "a second base during a rollout begins with a canary": (
        (_ROLLOUTS, "test_a_newer_base_supersedes_and_begins_with_a_canary"),
    ),
    "an abort beside builds undoes no deploy": (
        (_ROLLOUTS, "test_an_abort_brings_every_app_back_while_builds_go_on"),
    ),
    "builds land on their app's base, also those that began before its move": (
        (_ROLLOUTS, "test_a_build_that_lands_on_the_old_base_is_moved_again"),
        (_ROLLOUTS, "test_an_app_that_a_build_has_put_on_the_new_base_is_reported_with_that_image"),
        (_CHANNELS, "test_builds_stand_on_the_base_of_their_app_s_channel"),
    ),
    "an app is held back by a library, and by its stack, with the reason": (
        (_FACTS, "test_exactly_the_app_that_would_lose_a_library_is_held_back"),
        (_ROLLOUTS, "test_apps_that_cannot_move_are_listed_with_the_reason"),
    ),
    "whatever builds, tenants, nodes and people do, a campaign keeps the budget and undoes no deploy": (
        (_CAMPAIGN, "TestCampaigns"),
    ),
    "a tenant over its limits, a cancelled build or the farm's fault stops no campaign": (
        (_LIMITS, "test_what_is_refused_is_tried_for_an_hour_unless_the_farm_is_to_blame"),
        (_LIMITS, "test_a_refused_tenant_s_many_apps_do_not_take_the_turn_of_another_tenant_s"),
        (_LIMITS, "test_apps_that_are_left_out_do_not_shrink_the_budget_for_failures"),
        (_LIMITS, "test_a_build_that_its_tenant_s_limit_holds_for_an_hour_gives_its_place_to_others"),
        (_LIMITS, "test_a_cancelled_build_leaves_the_app_out_and_does_not_count"),
        (_LIMITS, "test_the_farm_s_faults_are_tried_again_and_count_at_the_third_time"),
    ),
    "hosts have the base before the first app moves": (
        (_HOSTS, "test_an_app_moves_when_all_hosts_have_the_base"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Ran:
    """A test that was run."""

    passed: bool
    seconds: float


def run(claims: Claims) -> None:
    """A row for each rule."""
    found = _run_tests(sorted({path for tests in RULES.values() for path, _ in tests}))
    for claim, tests in RULES.items():
        ran = [found[name] for _, name in tests if name in found]
        passed = sum(one.passed for one in ran)
        figure = f"{passed} of {len(tests)} tests pass, {sum(one.seconds for one in ran):.1f} s"
        claims.add(claim, figure, passed == len(tests))


def _run_tests(paths: Sequence[str]) -> dict[str, Ran]:
    """Runs the named tests of these files in one process; a test that was skipped has not passed."""
    names = [f"{path}::{name}" for tests in RULES.values() for path, name in tests if path in paths]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # The older form of the report has a place for what tests record.
        options = ["-q", f"--junitxml={report}", "--override-ini=junit_family=xunit1"]
        command = [sys.executable, "-m", "pytest", *options, *dict.fromkeys(names)]
        subprocess.run(command, cwd=ROOT, check=False)
        cases = list(ET.parse(report).iter("testcase")) if report.is_file() else []
    found: dict[str, Ran] = {}
    for case in cases:
        name = case.attrib["name"].partition("[")[0]
        # The state machine's case is its class.
        name = name if name.startswith("test_") else case.attrib["classname"].rpartition(".")[2]
        passed = not any(case.find(tag) is not None for tag in ("failure", "error", "skipped"))
        before = found.get(name, Ran(passed=True, seconds=0.0))
        found[name] = Ran(before.passed and passed, before.seconds + float(case.attrib["time"]))
    return found

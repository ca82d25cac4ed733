"""What a soak's builds are, how its time is divided, and when its farm has grown."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from buildfarm.events import Event
from buildfarm.settings import Settings
from testkit.table import Claims
from verify.soak import lives, made
from verify.soak.lives import Sample
from verify.soak.nodes import complaints
from verify.soak.report import report
from verify.soak.rooms import NODE, Rooms
from verify.soak.times import Plan
from verify.soak.watching import event_fields

LIFE = 100.0


def samples(*memory):
    """One life after the other, with two samples each."""
    return [
        Sample(number * LIFE + at, amount + at, 1000, 50) for number, amount in enumerate(memory) for at in (10, 90)
    ]


def test_the_full_run_has_eleven_lives_of_four_minutes():
    assert (Plan(45).lives, Plan(45).life_seconds, Plan(45).compared) == (11, 240, (4, 11))


def test_a_shorter_one_compares_its_last_life_with_the_first_that_is_full():
    assert (Plan(10).lives, Plan(10).life_seconds, Plan(10).compared) == (5, 120, (3, 5))


def test_one_that_is_too_short_has_no_two_lives_to_compare():
    first, last = Plan(2).compared
    assert first == last


@pytest.mark.parametrize("minutes", [2, 10, 45])
def test_all_that_a_build_leaves_is_over_within_a_life(minutes):
    plan = Plan(minutes)
    values = {name.removeprefix("BUILDFARM_").lower(): value for name, value in plan.variables().items()}
    settings = Settings.model_validate(values)
    archived = settings.archive_seconds + plan.span_seconds
    assert archived + settings.archive_kept_seconds < plan.life_seconds
    assert settings.record_seconds + settings.grace_seconds + settings.collect_every_seconds < plan.life_seconds
    assert settings.grace_seconds == settings.collect_grace_seconds


def test_the_events_before_the_first_build_are_as_large_as_a_builds():
    found = [Event(position=f"{number}-0", **event_fields(number)) for number in range(6)]
    assert [event.state for event in found] == ["queued", "running", "succeeded"] * 2
    assert [bool(event.node) for event in found] == [False, True, False] * 2
    assert {(event.tenant, event.app) for event in found} == {made.place_of(0), made.place_of(1)}


def test_a_build_is_the_same_whenever_it_is_asked_for():
    assert list(made.lines_of(7)) == list(made.lines_of(7))
    assert made.layer_of(7) == made.layer_of(7) != made.layer_of(8)
    assert made.number_of(made.id_of(123456)) == 123456


def test_one_build_in_ten_fails_and_one_in_twenty_prints_five_megabytes():
    numbers = range(2000)
    assert sum(map(made.fails, numbers)) == 200
    sizes = list(map(made.log_bytes, numbers))
    assert sum(size == made.LARGE_BYTES for size in sizes) == 100
    assert 17_000 < statistics.median(sizes) < 25_000
    printed = sum(len(line) + 1 for line in made.lines_of(3))
    assert made.LARGE_BYTES <= printed < made.LARGE_BYTES + 1000


def test_failures_and_large_logs_come_from_many_apps():
    assert len({made.place_of(number) for number in range(1000) if made.fails(number)}) == made.APPS
    assert len({made.place_of(number)[0] for number in range(1000)}) == made.TENANTS


def test_growth_is_between_the_means_of_two_lives():
    found = lives.growth(samples(100, 500, 510), 2, 3, LIFE)
    assert found["memory"] == (550, 560)
    assert found["bytes"] == (1000, 1000)
    assert [row["life"] for row in lives.table(samples(1, 2), 5, LIFE)] == [1, 2]


def figures(**changes):
    return {
        "compared": (4, 11), "growth": {"memory": (100.0, 104.0), "bytes": (100.0, 90.0), "inodes": (10.0, 10.0)},
        "builds": 54_000, "checked": 54_000, "refused": {}, "waited_seconds": 0, "log_bytes": 1,
        "attempts": {1: 54_000}, "wrong_counts": {}, "complaints": {}, **changes,
    }  # fmt: skip


def verdict(found):
    claims = Claims("soak")
    report(claims, Plan(45), found)
    with pytest.raises(SystemExit) as end:
        claims.finish()
    return end.value.code


def test_a_farm_that_kept_everything_holds():
    assert verdict(figures()) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"growth": {"memory": (100.0, 106.0)}},
        {"compared": (1, 1)},
        {"checked": 53_999},
        {"builds": 50_000, "checked": 50_000},
        {"refused": {"farm.storage_full": 1}},
        {"log_bytes": 0},
        {"complaints": {"spool_lost": 1}},
        *({"wrong_counts": {what: 1}} for what in ("lost build", "other end", "unreadable")),
        *({"wrong_counts": {what: 1}} for what in ("other log", "lost image", "not gone")),
    ],
    ids=str,
)
def test_whatever_is_lost_refused_or_grows_falls_short(changes):
    assert verdict(figures(**changes)) == 1


def test_warnings_of_nodes_are_counted(tmp_path: Path):
    lines = [
        {"event": "builds_archived", "level": "info"},
        {"event": "spool_lost", "level": "warning", "build": "1"},
        {"event": "spool_lost", "level": "warning", "build": "2"},
    ]
    (tmp_path / "node-0.log").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "node-1.log").write_text("Traceback\n")
    counts, first = complaints(tmp_path)
    assert counts == {"spool_lost": 2, "not a log line": 1}
    assert '"build": "1"' in first["spool_lost"]


def test_everything_of_a_soak_has_its_name():
    rooms = Rooms("buildfarm-soak-1")
    assert rooms.folder in rooms.disk.parents
    assert all(name.startswith(f"{rooms.name}-") for name in rooms.containers)


def test_the_processes_of_a_soak_are_found_by_its_name():
    rooms = Rooms(f"buildfarm-soak-{uuid.uuid4().hex[:8]}")
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", NODE, rooms.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline()
            assert rooms.processes() == [process.pid]
            assert Rooms(rooms.name[:-1]).processes() == []
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("minutes", "rate", "named"),
    [(0.5, 20, "MINUTES"), (8.3, 20, "MINUTES"), (10, 0, "RATE"), (8.4, 4, ""), (45, 20, "")],
)
def test_a_run_that_can_compare_nothing_is_refused(minutes, rate, named):
    assert Plan(minutes, rate).problem.partition(" ")[0] == named

"""Archiving leaves the registry and the processors to builds, as long as it keeps up with them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from workers.upkeep.archiving import Archiving, rests_seconds


class Farm:
    """Apps that are due, of which a look sees some, and a clock that only packs and rests move."""

    def __init__(self, apps: int = 0, *, seconds: float = 0.25, look: int = 1000, kept: float = 3600) -> None:
        self.now, self.left, self.seconds, self.look = 0.0, apps, seconds, look
        self.unseen, self.rests, self.cleaned, self.leads = 0, list[float](), 0, True
        self.loses = self.stops = False
        self.looked_at_all = True
        nodes = SimpleNamespace(lead=lambda *_: self.leads)
        audit = SimpleNamespace(move=lambda: 0, remove_expired=lambda: 0)
        log = SimpleNamespace(info=lambda *_, **__: None)
        archiving = Archiving("node", nodes, self, audit, log, self.pause, rests_seconds(kept), lambda: self.now)
        self.turn, self.turns = archiving.turn, archiving.turns

    def due(self) -> list[str]:
        if self.looked_at_all:
            self.unseen = self.left
        seen = min(self.unseen, self.look)
        self.unseen -= seen
        self.looked_at_all = not self.unseen
        return ["t/a"] * seen

    def archive(self, place: str) -> int:
        self.now, self.left = self.now + self.seconds, self.left - 1
        return 1

    def pause(self, seconds: float) -> bool:
        self.now, self.rests = self.now + seconds, [*self.rests, seconds]
        self.leads = not self.loses
        return self.stops and seconds > 0

    def remove_expired(self) -> int:
        self.cleaned += 1
        return 0

    def tidy(self) -> int:
        return 0


def test_it_rests_nine_times_as_long_as_it_works_and_not_after_the_last_app():
    farm = Farm(apps=3)
    farm.turn()
    assert farm.left == 0
    assert farm.rests == [0.25 * 9] * 2
    assert farm.cleaned == 1


def test_the_last_rest_ends_with_the_turn():
    farm = Farm(apps=6)
    farm.turn()
    assert farm.now == pytest.approx(10)
    assert farm.left == 2
    assert farm.cleaned == 1


def test_where_builds_leave_redis_soon_it_hardly_rests():
    farm = Farm(apps=30, kept=36)
    farm.turn()
    assert farm.left == 0
    assert sum(farm.rests) == 0


def test_it_rests_less_and_less_until_it_has_caught_up():
    farm = Farm(apps=300)
    done = []
    while farm.left:
        before = farm.left
        farm.turn()
        done.append(before - farm.left)
    assert done[:4] == [4, 10, 20, 30]
    assert max(done) == 37, "a rest is never less than a tenth of what an app took"
    farm.left, farm.rests = 2, []
    farm.turn()
    assert farm.rests == [0.25 * 9], "the last turn of those before left out none"


def test_a_look_that_left_apps_out_counts_when_the_list_ends():
    farm = Farm(apps=60, look=50)
    farm.turn()  # four of the first fifty
    farm.turn()  # the last ten, and so to the end of the list
    assert farm.looked_at_all
    farm.rests = []
    farm.turn()
    assert farm.rests[0] < 0.25 * 9 / 3


@pytest.mark.parametrize("seconds", [1.0, 12.0])
def test_a_single_app_that_takes_long_is_not_being_behind(seconds):
    farm = Farm(apps=1, seconds=seconds)
    farm.turn()
    farm.left, farm.seconds = 2, 0.25
    farm.turn()
    assert farm.rests == [0.25 * 9]


def test_a_node_that_stops_archives_nothing_more():
    farm = Farm(apps=5)
    farm.stops = True
    farm.turn()
    assert (farm.left, farm.cleaned) == (4, 0)


def test_a_node_that_lost_its_lead_in_a_rest_archives_nothing_more():
    farm = Farm(apps=5)
    farm.loses = True
    farm.turn()
    assert (farm.left, farm.cleaned) == (4, 0)


def test_turns_follow_sooner_and_sooner_until_one_leaves_out_none():
    farm = Farm(apps=120, kept=36)
    farm.turns()
    assert farm.left == 0
    assert [rest for rest in farm.rests if rest] == [pytest.approx(10 / 3), pytest.approx(10 / 9)]
    assert farm.cleaned == 3


def test_a_farm_that_keeps_up_takes_one_turn():
    farm = Farm(apps=3, kept=0)
    farm.turns()
    assert (farm.rests, farm.cleaned) == ([0, 0], 1)


def test_a_node_that_stops_takes_no_other_turn():
    farm = Farm(apps=120, kept=0)
    farm.stops = True
    farm.turns()
    assert (farm.left, farm.cleaned) == (80, 1)

"""Archiving leaves the registry and the processors to builds, as long as it keeps up with them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from workers.upkeep import archiving
from workers.upkeep.archiving import Archiving

PACK_SECONDS = 0.25


class Farm:
    """Apps that are due, and a clock that only packs and rests move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, apps: int) -> None:
        self.now, self.left, self.rests = 0.0, apps, list[float]()
        monkeypatch.setattr(archiving.time, "monotonic", lambda: self.now)
        self.archivist = SimpleNamespace(
            due=lambda: ["t/a"] * self.left, archive=self.archive, looked_at_all=True,
            remove_expired=lambda: 0, tidy=lambda: 0,
        )  # fmt: skip
        nodes = SimpleNamespace(lead=lambda *_: True)
        audit = SimpleNamespace(move=lambda: 0, remove_expired=lambda: 0)
        log = SimpleNamespace(info=lambda *_, **__: None)
        self.turn = Archiving("node", nodes, self.archivist, audit, log, self.sleep).turn

    def archive(self, place: str) -> int:
        self.now, self.left = self.now + PACK_SECONDS, self.left - 1
        return 1

    def sleep(self, seconds: float) -> None:
        self.now, self.rests = self.now + seconds, [*self.rests, seconds]


def test_it_rests_nine_times_as_long_as_it_works(monkeypatch):
    farm = Farm(monkeypatch, apps=3)
    farm.turn()
    assert farm.left == 0
    assert farm.rests == [PACK_SECONDS * 9] * 3


def test_no_rest_is_longer_than_the_turn(monkeypatch):
    farm = Farm(monkeypatch, apps=5)
    farm.turn()
    assert farm.now == pytest.approx(10)
    assert farm.left == 1


def test_it_does_not_fall_behind_for_ever(monkeypatch):
    farm = Farm(monkeypatch, apps=300)
    done = []
    while farm.left:
        before = farm.left
        farm.turn()
        done.append(before - farm.left)
    assert done[:4] == [4, 10, 20, 30]
    assert max(done) > 38, "at last it hardly rests: a turn of ten seconds has time for 40 packs"
    farm.left = 1
    farm.turn()
    farm.left, farm.rests = 1, []
    farm.turn()
    assert farm.rests == [PACK_SECONDS * 9], "it has caught up"

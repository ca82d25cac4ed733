"""The feed of images that apps are to run: whose changes end a wait, and where its reader goes on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from buildfarm.releases.rollouts import feed
from buildfarm.releases.rollouts.feed import ImageChanges
from buildfarm.releases.rollouts.views import ImageChange


def change(number, tenant):
    return ImageChange(
        position=f"{number}-0", app=f"{tenant}/web", image="new", previous="old", base="b@new", rollout="r1", wave=0,
        reason="",
    )  # fmt: skip


@pytest.fixture
def read(monkeypatch):
    """``read(pages, after)`` is what the tenant shop reads in 4 s, by a clock of the test's own; and what was asked."""
    clock = [0.0]
    monkeypatch.setattr(feed, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(feed, "_PAGE", 2)

    def run(pages, after="0", tenant="shop"):
        asked, left = [], list(pages)

        def page(self, after, wait_seconds):
            asked.append((after, wait_seconds))
            seconds, found = left.pop(0) if left else (wait_seconds, [])
            clock[0] += seconds
            return found

        monkeypatch.setattr(ImageChanges, "_page", page)
        monkeypatch.setattr(ImageChanges, "last", lambda self: "7-0")
        found, position = ImageChanges(object()).read(after, wait_seconds=4, tenant=tenant)
        return [one.position for one in found], position, asked

    return run


def test_changes_of_other_tenants_end_no_wait(read):
    pages = [(1.0, [change(1, "other")]), (1.5, [change(2, "other")]), (0.5, [change(3, "shop")])]
    assert read(pages) == (["3-0"], "3-0", [("0", 4.0), ("1-0", 3.0), ("2-0", 1.5)])


def test_a_reader_goes_on_behind_changes_of_other_tenants(read):
    assert read([(4.0, [change(1, "other")])]) == ([], "1-0", [("0", 4.0)])
    assert read([(0.0, [change(1, "other"), change(2, "other")])])[:2] == ([], "2-0")


def test_a_reader_from_now_on_misses_nothing_between_two_reads(read):
    assert read([], after="$") == ([], "7-0", [("7-0", 4.0)])
    assert read([], after="5-0")[:2] == ([], "5-0")


def test_an_operator_reads_all(read):
    assert read([(0.0, [change(1, "other")])], tenant=None)[:2] == (["1-0"], "1-0")

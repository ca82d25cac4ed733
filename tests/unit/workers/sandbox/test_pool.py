"""Boxes that are kept ready: each is used once, dead or outdated ones never. A maker stands in for the engine."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from buildfarm.errors import NodeError
from workers.sandbox.pool import Boxes


@dataclass(frozen=True)
class Made:
    name: str
    environment: dict = field(default_factory=dict)
    dead: list = field(default_factory=list)

    def runs(self):
        return not self.dead


class Maker:
    """Where workspaces and sandboxes come from."""

    def __init__(self):
        self.there = []
        self.made = {}
        self.broken = False

    @contextmanager
    def make(self, *names):
        name = names[1] if len(names) > 1 else names[0]
        if self.broken and len(names) > 1:
            raise NodeError("no engine")
        self.there.append(name)
        try:
            yield self.made.setdefault((name, len(names)), Made(name))
        finally:
            self.there.remove(name)


@pytest.fixture
def maker():
    return Maker()


def test_without_ready_ones_a_box_is_made_for_the_build_and_goes_with_it(maker):
    boxes = Boxes(maker, maker, 0)
    boxes.fill("image")
    with boxes.take("build-1", "image", {"A": "1"}) as (workspace, sandbox):
        assert (workspace.name, sandbox.name, sandbox.environment) == ("build-1", "build-1", {"A": "1"})
        assert boxes.names() == {"build-1"}
    assert (maker.there, boxes.names()) == ([], set())


def test_a_ready_box_is_taken_and_another_takes_its_place(maker):
    boxes = Boxes(maker, maker, 1)
    boxes.fill("image")
    [ready] = boxes.names()
    with boxes.take("build-1", "image", {}) as (_, sandbox):
        assert sandbox.name == ready
        boxes.fill("image")
        assert len(boxes.names()) == 2
    assert ready not in boxes.names()
    boxes.empty()
    assert (maker.there, boxes.names()) == ([], set())


def test_boxes_of_another_builder_are_not_used(maker):
    boxes = Boxes(maker, maker, 2)
    boxes.fill("old")
    with boxes.take("build-1", "new", {}) as (_, sandbox):
        assert sandbox.name == "build-1"
    old = boxes.names()
    boxes.fill("new")
    assert len(boxes.names()) == 2
    assert not old & boxes.names()


def test_a_box_that_died_is_not_used(maker):
    boxes = Boxes(maker, maker, 1)
    boxes.fill("image")
    [ready] = boxes.names()
    maker.made[ready, 4].dead.append(True)
    with boxes.take("build-1", "image", {}) as (_, sandbox):
        assert sandbox.name == "build-1"
    assert maker.there == []


def test_what_cannot_be_made_leaves_nothing(maker):
    boxes = Boxes(maker, maker, 1)
    maker.broken = True
    with pytest.raises(NodeError):
        boxes.fill("image")
    assert (maker.there, boxes.names()) == ([], set())

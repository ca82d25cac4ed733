"""What is pruned from a node's engine comes back, each thing whatever becomes of the others. An engine stands in."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from buildfarm.errors import NodeError, RegistryError
from workers.upkeep import prewarm


class World:
    """Images that the engine and the registry have, and a pool."""

    def __init__(self, monkeypatch, engine, registry):
        self.engine, self.registry, self.looked = set(engine), set(registry), 0
        monkeypatch.setattr(prewarm, "has_image", lambda _, image: image in self.engine)
        monkeypatch.setattr(prewarm, "pull", self.pull)
        self.log = []
        logger = SimpleNamespace(warning=lambda event, **fields: self.log.append((event, fields["image"])))
        self.repair = prewarm.Repair(None, SimpleNamespace(host="h"), None, logger)

    def pull(self, client, registry, named):
        if named not in self.registry:
            raise RegistryError(f"{named} is gone")
        self.engine.add(f"h/{named}")

    def remove_ended(self):
        self.looked += 1

    def look(self, *images):
        held = {image: SimpleNamespace(image=f"h/{image}") for image in images}
        self.repair.look(SimpleNamespace(held=SimpleNamespace(by_reference=lambda: held)), self)


def test_a_removed_builder_is_pulled_again_and_one_that_is_there_is_not(monkeypatch):
    world = World(monkeypatch, ["h/a"], ["a", "b"])
    world.look("a", "b")
    assert world.engine == {"h/a", "h/b"}
    assert world.log == [("image_pulled_again", "h/b")]


def test_a_builder_that_cannot_be_pulled_keeps_back_no_other(monkeypatch):
    world = World(monkeypatch, [], ["b"])
    for _ in range(2):
        with pytest.raises((NodeError, RegistryError), match="a is gone"):
            world.look("a", "b")
    assert world.engine == {"h/b"}
    assert world.looked == 2
    assert world.log == [("image_pulled_again", "h/b")], "and nothing is told of what was not pulled"


def test_what_several_ask_for_at_once_is_pulled_once(monkeypatch):
    world, pulls, others = World(monkeypatch, [], ["a"]), [], []

    def pull(*arguments):
        pulls.append(arguments[2])
        if len(pulls) == 1:
            others.append(threading.Thread(target=world.look, args=["a"]))
            others[0].start()
            others[0].join(0.2)  # it would pull meanwhile
        world.pull(*arguments)

    monkeypatch.setattr(prewarm, "pull", pull)
    world.look("a")
    others[0].join(10)
    assert pulls == ["a"]
    assert world.log == [("image_pulled_again", "h/a")]

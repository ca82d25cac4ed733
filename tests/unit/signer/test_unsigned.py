"""The look for unsigned images goes on past what it cannot read, and leaves the signer's time to builds."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from buildfarm.errors import RegistryError
from signer import unsigned
from signer.process import repeat
from signer.unsigned import FAILED_MAX, WAITING_MAX, UnsignedImages

DIGEST = "sha256:" + "a" * 64


class Log:
    def __init__(self):
        self.events = []

    def __getattr__(self, level):
        return lambda event, **fields: self.events.append(event)


class Farm:
    """What the look reads of a farm: tags on one page, images that are adopted or signed, and a registry that fails."""

    def __init__(self, tags):
        self.tags, self.adopted, self.signed, self.failing = tags, {}, set(), set()
        self.asked, self.looked_at = [], []
        self.database, self.registry, self.client, self.records = self, self, self, None

    def key(self, *names):
        return ":".join(names)

    def failures(self):
        return nullcontext()

    def hscan(self, name, cursor, count):
        return 0, dict(self.tags)

    def hget(self, name, target):
        return self.adopted.get(target)

    def has_manifest(self, repository, reference):
        self.looked_at.append(repository)
        if repository in self.failing:
            raise RegistryError("400")
        return repository in self.signed

    def ask(self, target):
        self.asked.append(target)

    def has(self, target):
        return target in self.asked

    def waiting(self):
        return len(self.asked), 0.0


@pytest.fixture
def look(monkeypatch):
    monkeypatch.setattr(unsigned, "Evidence", lambda *_: SimpleNamespace(check=lambda target, image: None))

    def make(tags):
        farm = Farm(tags)
        work = SimpleNamespace(
            farm=farm, requests=farm, logger=Log(), attaching=SimpleNamespace(signers=()), provenance=None,
            images=SimpleNamespace(read=lambda repository, digest: None),
        )  # fmt: skip
        return UnsignedImages(work), farm

    return make


def test_a_tag_that_is_no_digest_does_not_end_the_look(look):
    images, farm = look({"apps/t/a": "x", "apps/t/b": DIGEST})
    assert images.look() == 1
    assert farm.asked == ["apps/t/b"]
    farm.looked_at.clear()
    images.look()
    assert "image_stays_unsigned" in images.work.logger.events
    assert farm.looked_at == []


def test_an_image_that_the_registry_refuses_is_passed_over_and_looked_at_again(look):
    images, farm = look({"apps/t/a": DIGEST, "apps/t/b": DIGEST})
    farm.failing = {"apps/t/a"}
    assert images.look() == 1
    farm.failing.clear()
    assert images.look() == 1
    assert farm.asked == ["apps/t/b", "apps/t/a"]


def test_a_look_ends_early_if_the_registry_is_away_and_the_next_one_goes_on_behind(look):
    names = [f"apps/t/a{number:02}" for number in range(2 * FAILED_MAX)]
    images, farm = look(dict.fromkeys([*names, "apps/t/good"], DIGEST))
    farm.failing = set(names)
    assert images.look() == 0
    assert farm.looked_at == names[:FAILED_MAX]
    images.look()
    assert images.look() == 1
    assert farm.asked == ["apps/t/good"]


def test_no_more_is_asked_for_than_the_signer_does_between_builds(look):
    images, farm = look({f"apps/t/a{number}": DIGEST for number in range(3 * WAITING_MAX)})
    assert images.look() == WAITING_MAX
    assert images.look() == 0
    del farm.asked[:3]
    assert images.look() == 3


def test_an_image_from_before_signing_waits_until_it_is_asked_for(look):
    images, farm = look({"apps/t/a": DIGEST})
    farm.adopted = {"apps/t/a": DIGEST}
    assert images.look() == 0
    assert farm.looked_at == []


def test_a_signer_that_is_stopped_looks_at_no_further_image(look):
    images, farm = look({"apps/t/a": DIGEST})
    images.stop.set()
    assert images.look() == 0
    assert farm.looked_at == []


def test_a_bug_does_not_end_what_is_repeated():
    stop, turns = threading.Event(), []

    def act():
        turns.append(1)
        if len(turns) == 2:
            stop.set()
        raise KeyError("bug")

    log = Log()
    repeat(act, 0, stop, log)
    assert len(turns) == 2
    assert log.events == ["signer_bug"] * 2

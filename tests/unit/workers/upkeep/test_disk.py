"""What of the builders on a node goes when its disk needs room. The engine is a list of images."""

from __future__ import annotations

from types import SimpleNamespace

import docker
import pytest

from buildfarm.telemetry import logger
from workers.upkeep.disk import Disk


class Images:
    """The engine's images by their references, of which builds still use some."""

    def __init__(self, there, used=()):
        self.there = set(there)
        self.used = set(used)

    def images(self, name):
        return [{"RepoDigests": [one]} for one in sorted(self.there) if one.startswith(f"{name}@")] + [
            {"RepoDigests": None}
        ]

    def remove_image(self, reference):
        if reference in self.used:
            raise docker.errors.APIError("conflict", response=SimpleNamespace(status_code=409, reason="in use"))
        self.there.remove(reference)


@pytest.fixture
def disk(tmp_path):
    def make(engine, named, clean_bytes=1 << 60):
        client = SimpleNamespace(api=engine)
        return Disk(client, [tmp_path], clean_bytes, lambda wanted: 0, lambda: set(named), logger())

    return make


def test_builders_that_nothing_names_go_from_every_repository_and_no_other(disk):
    named = {"host/builder@new", "host/images/builder@next"}
    others = {"host/apps/t/a@image", "elsewhere/builder@old"}
    engine = Images({*named, *others, "host/builder@old", "host/builder@older", "host/images/builder@old"})
    full = disk(engine, named)
    assert not full.has_room()
    full.make_room()
    assert engine.there == {*named, *others}


def test_one_that_a_build_stands_on_keeps_no_other(disk):
    engine = Images({"host/builder@new", "host/builder@old", "host/builder@older"}, used={"host/builder@old"})
    disk(engine, {"host/builder@new"}).make_room()
    assert engine.there == {"host/builder@new", "host/builder@old"}


def test_while_it_is_not_known_which_are_wanted_none_goes(disk):
    engine = Images({"host/builder@new", "host/builder@old"})
    disk(engine, set()).make_room()
    assert len(engine.there) == 2


def test_with_room_nothing_goes(disk):
    engine = Images({"host/builder@new", "host/builder@old"})
    roomy = disk(engine, {"host/builder@new"}, clean_bytes=0)
    assert roomy.has_room()
    roomy.make_room()
    assert len(engine.there) == 2

"""What a node tells the collection that it starts, which may have another environment."""

from __future__ import annotations

from buildfarm.settings import Settings
from workers.upkeep.collection import _variables


def test_a_collection_knows_the_sizes_whose_builds_take_longer(monkeypatch):
    settings = Settings(sizes="large=memory:6GiB/seconds:99999,huge=memory:16GiB")
    monkeypatch.setenv("BUILDFARM_SIZES", _variables(settings)["BUILDFARM_SIZES"])
    assert Settings().sizes == settings.sizes

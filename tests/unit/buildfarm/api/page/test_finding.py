"""A search for an image whose builds cannot all be read, or belong to others."""

from __future__ import annotations

from types import SimpleNamespace

from buildfarm.api.page import finding
from buildfarm.errors import NotFoundError, RegistryError
from buildfarm.store.keeping.apps import Apps

HEX = "ab" * 32


def test_what_cannot_be_read_or_seen_takes_no_room(monkeypatch):
    def get(build_id):
        if build_id == "damaged":
            raise RegistryError("The pack is damaged.")
        if build_id == "gone":
            raise NotFoundError("It is gone.")
        tenant = "other" if build_id.startswith("other") else "shop"
        result = SimpleNamespace(digest=SimpleNamespace(hex=HEX))
        return SimpleNamespace(id=build_id, request=SimpleNamespace(tenant=tenant), result=result)

    ids = ["damaged", "gone", *(f"other{number}" for number in range(50)), *(f"own{number}" for number in range(30))]
    monkeypatch.setattr(Apps, "builds_of_image", lambda *_, **__: ids)
    caller = SimpleNamespace(tenant="shop", services=SimpleNamespace(farm=SimpleNamespace(database=None, get=get)))
    assert [build.id for build in finding._of_image(caller, HEX)] == [f"own{number}" for number in range(20)]

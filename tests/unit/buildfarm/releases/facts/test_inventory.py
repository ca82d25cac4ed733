"""Which image a text names, and who may name it: nothing of others is looked up for a tenant."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import httpx
import pytest
from click.testing import CliRunner

from buildfarm.cli.details import components
from buildfarm.client.wire import error_of
from buildfarm.errors import NotFoundError, NotReadYetError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.releases.facts.components.inventory import Inventory
from buildfarm.releases.facts.components.models import Place, Places

DIGEST = Digest.of(b"x")


class Registry:
    """Has one tag, an index, and nothing else; ``asked`` is what was looked up."""

    def __init__(self):
        self.asked = []

    def read_manifest(self, repository, reference):
        self.asked.append(f"{repository}:{reference}")
        if reference == "stable":
            return None, DIGEST
        raise ValueError("it is an index") if reference == "index" else NotInRegistryError("none")


@pytest.fixture
def inventory():
    result = SimpleNamespace(repository="apps/shop/web", digest=DIGEST)
    records = SimpleNamespace(database=None, tag_target=lambda repository: str(DIGEST))
    build = SimpleNamespace(id="b1", result=result)
    return Inventory(Registry(), records, lambda build_id: build, SimpleNamespace(registry_url="http://r:5000"))


@pytest.mark.parametrize("image", ["b1", "shop/web", f"shop/web@{DIGEST}", "builder:stable"])
def test_an_operator_names_any_image(inventory, image):
    assert inventory.place(image)[1] == str(DIGEST)


@pytest.mark.parametrize("image", ["builder:index", "builder:none", "Builder:x"])
def test_what_is_not_an_image_is_not_found(inventory, image):
    with pytest.raises(NotFoundError):
        inventory.place(image)


@pytest.mark.parametrize(
    "image", ["b1", "shop/web", f"shop/web@{DIGEST}", "builder:stable", "builder:index", "apps/shop/web:stable"]
)
def test_a_tenant_learns_nothing_of_others_and_the_registry_is_not_asked(inventory, image):
    with pytest.raises(NotFoundError):
        inventory.place(image, tenant="other")
    assert inventory.registry.asked == []
    if "builder" not in image:
        assert inventory.place(image, tenant="shop")[0] == "apps/shop/web"


def test_waiting_ends_at_once_if_an_answer_is_further_away_than_the_wait(monkeypatch, capsys):
    answer = httpx.Response(503, headers={"Retry-After": "3600"})
    far = error_of(answer, "farm.not_read_yet", "A layer could not be read.", "")
    near = [NotReadYetError("The files have not been read yet."), NotReadYetError("Redis is full.")]
    monkeypatch.setattr(components.time, "sleep", lambda seconds: None)

    def call():
        raise near.pop(0) if near else far

    with pytest.raises(NotReadYetError, match="could not be read"):
        components.when_read(call)
    assert capsys.readouterr().err == (
        "The files have not been read yet. Waiting for a node to read them.\n"
        "Redis is full. Waiting for a node to read them.\n"
    )


def test_places_fit_a_terminal_and_what_is_not_known_is_said(monkeypatch):
    place = Place(
        app="shop/web", image="x", component="npm/lodash", version="next", is_compared=False, in_base=False, base="b",
        path="/app/" + "node_modules/@scope/package/" * 5 + "package.json", since=1.7e9,
    )  # fmt: skip
    found = Places(
        places=(place, place.model_copy(update={"version": "[red]1"})), apps=1, searched=9, unknown=("a/b",),
        unknown_apps=1, incomplete=("c/d",), incomplete_apps=1,
    )  # fmt: skip
    farm = SimpleNamespace(where=lambda expression, limit: found)
    monkeypatch.setattr(components, "connected_farm", lambda: nullcontext(farm))
    done = CliRunner().invoke(components.where, ["npm/lodash"], env={"COLUMNS": "80"})
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split()[:4] == ["shop/web", "next?", "2023-11-14", "app"]
    assert "[red]1" in done.stdout
    assert lines[-1] == "1 of 9 apps have it."
    assert [line.partition(":")[0] for line in done.stderr.splitlines()[1:]] == [
        "With files whose components are not known", "Not read yet, so not wholly searched",
    ]  # fmt: skip
    assert CliRunner().invoke(components.where, ["npm/lodash", "--apps"]).stdout == "shop/web\n"

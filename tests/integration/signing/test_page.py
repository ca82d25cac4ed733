"""The page says of an image whether it is signed."""

from __future__ import annotations

import re

import httpx

from buildfarm.api.page.pages import signature_of
from buildfarm.errors import RegistryError
from buildfarm.oci.registry import Registry
from testkit.serving import serving
from tests.integration.signing.conftest import TARGET


def published(publishing):
    """As a node with signing off does it."""
    lease = publishing.claimed()
    result = publishing.result(lease)
    publishing.leases.publish(lease, TARGET, result)
    publishing.leases.succeed(lease, result)
    return lease


def test_the_pages_of_an_app_and_of_a_build_show_the_signature(farm, publishing, work):
    bare = published(publishing)
    lease, _ = publishing.handed_over(code="2")
    work.turn()
    own = {"BUILDFARM_SIGNING": "1", "BUILDFARM_REGISTRY_URL": farm.settings.registry_url}
    with serving(farm, **own) as api, httpx.Client(base_url=api.url, trust_env=False, timeout=30) as tab:
        tab.post("/sign-in", data={"token": api.token("t", "read")})
        pages = {"/apps/t/a": "signed", f"/builds/{lease.build_id}": "signed", f"/builds/{bare.build_id}": "unsigned"}
        for page, signature in pages.items():
            assert re.findall(r">(\w*signed)</span>", tab.get(page).text) == [signature], page


def test_nothing_is_said_of_an_image_that_was_collected(farm, publishing):
    digest = farm.get(published(publishing).build_id).result.digest
    assert signature_of(farm, TARGET, str(digest)) == "unsigned"
    farm.registry.delete_manifest(TARGET, digest)
    assert signature_of(farm, TARGET, str(digest)) == ""


def test_nothing_is_shown_of_a_farm_that_does_not_sign_or_without_a_registry(farm, publishing, monkeypatch):
    digest = farm.get(published(publishing).build_id).result.digest
    assert signature_of(farm, TARGET, "") == ""

    def fails(*args):
        raise RegistryError("gone")

    monkeypatch.setattr(Registry, "has_manifest", fails)
    assert signature_of(farm, TARGET, str(digest)) == ""

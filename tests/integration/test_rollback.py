"""Back to an earlier image: from inside, over HTTP, on the command line and on the page; and what stands against it."""

from __future__ import annotations

import json
import subprocess
import sys

import httpx
import pytest

from buildfarm.access import Audit
from buildfarm.client import Client
from buildfarm.errors import ConflictError, NotFoundError, RegistryFullError, RequestError
from buildfarm.model import BuildRequest, BuildResult, Phase, RunPolicy
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.store import Lease, Leases, Tags
from buildfarm.store.archive.archivist import Archivist
from testkit.archive import SOURCE, Life
from testkit.serving import serving

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


class Images:
    """An app whose builds publish images that the registry really has."""

    def __init__(self, farm) -> None:
        self.farm, self.tenant = farm, farm.settings.namespace.strip(":")
        self.repository = f"apps/{self.tenant}/web"
        self.leases = Leases(farm.admission, 60, 3)

    def put(self, text: str) -> Digest:
        blob = self.farm.registry.put_blob(self.repository, b"{}")
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": blob, "size": 2}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": [],
                    "annotations": {"a": text}}  # fmt: skip
        return self.farm.registry.put_manifest(self.repository, json.dumps(manifest).encode(), MANIFEST_TYPE, tag=None)

    def build(self, text: str) -> str:
        return self.published(self.put(text))

    def published(self, digest: Digest) -> str:
        request = BuildRequest(tenant=self.tenant, app="web", source=SOURCE, run_policy=RunPolicy.ALL)
        lease = self.leases.claim(self.farm.submit(request).id, "node")
        assert isinstance(lease, Lease)
        result = BuildResult(
            repository=self.repository, digest=digest, tag="latest", layers=(), uploaded_bytes=0,
            phase_seconds={Phase.COMPILE: 1.0}, node="node", attempt=1,
        )  # fmt: skip
        self.leases.publish(lease, self.repository, result)
        self.farm.registry.move_tag(self.repository, "latest", lambda: self.farm.records.tag_target(self.repository))
        self.leases.succeed(lease, result)
        return lease.build_id

    def digest(self, build_id: str) -> str:
        return str(self.farm.get(build_id).result.digest)

    @property
    def tagged(self) -> str:
        return str(self.farm.registry.get_manifest(self.repository, "latest")[2])


@pytest.fixture
def images(farm):
    return Images(farm)


def test_the_tag_goes_back_and_the_next_build_moves_it_on(farm, images):
    first, second = images.build("1"), images.build("2")
    moved = farm.roll_back(first, seen=images.digest(second))
    assert (moved.build, moved.tag, moved.digest) == (first, "latest", images.digest(first))
    assert moved.before == images.digest(second)
    assert images.tagged == farm.records.tag_target(images.repository) == images.digest(first)
    assert images.repository in [one.target for one in Tags(farm.database).due(10)] or farm.database.client.zscore(
        farm.database.key("unsettled"), images.repository
    )
    third = images.build("3")
    assert images.tagged == images.digest(third)


def test_an_archived_builds_image_can_be_gone_back_to(farm, images):
    first = images.build("1")
    images.build("2")
    life = Life(farm)
    archivist = Archivist(life.catalog, life.logs, farm.registry, 0, 0, 1e6, life.keeper().logger)
    assert sum(archivist.archive(place) for place in archivist.due()) == 2
    assert farm.roll_back(first).digest == images.tagged == images.digest(first)


def test_what_was_seen_is_a_digest(farm):
    with pytest.raises(RequestError, match="does not name an image by its digest"):
        farm.roll_back("0123456789abcdef", seen="abc")


def test_a_tag_that_has_moved_since_it_was_seen_stays(farm, images):
    first, second = images.build("1"), images.build("2")
    images.build("3")
    before = images.tagged
    with pytest.raises(ConflictError, match="moved to another image"):
        farm.roll_back(first, seen=images.digest(second))
    assert images.tagged == farm.records.tag_target(images.repository) == before


def test_an_image_that_is_gone_is_refused_and_the_tag_stays(farm, images):
    first = images.build("1")
    images.build("2")
    before = images.tagged
    farm.registry.delete_manifest(images.repository, Digest(images.digest(first)))
    with pytest.raises(RequestError, match="cannot be used again"):
        farm.roll_back(first)
    assert images.tagged == farm.records.tag_target(images.repository) == before


def test_an_image_that_goes_in_between_leaves_the_tag_where_it_was(farm, images, monkeypatch):
    first = images.build("1")
    images.build("2")
    before = images.tagged
    registry = farm.quick_registry

    def there_and_then_gone(repository, digest):
        farm.registry.delete_manifest(repository, digest)
        return True

    monkeypatch.setattr(registry, "has_manifest", there_and_then_gone)
    with pytest.raises(RequestError, match="cannot be used again"):
        farm.roll_back(first)
    assert images.tagged == farm.records.tag_target(images.repository) == before


def test_a_repeated_rollback_is_no_conflict(farm, images):
    first, second = images.build("1"), images.build("2")
    for _ in range(2):
        assert farm.roll_back(first, seen=images.digest(second)).digest == images.digest(first)
    assert images.tagged == images.digest(first)


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("errors", [(NotInRegistryError, RequestError), (RegistryFullError, RegistryFullError)])
def test_a_tag_that_cannot_be_moved_is_recorded_where_it_was(farm, images, monkeypatch, tagged, errors):
    error, told = errors
    first = images.build("1")
    before = images.digest(images.build("2")) if tagged else ""
    if not tagged:
        farm.database.client.delete(farm.database.key("tags"))

    def refuse(*_):
        raise error("The registry refuses it.")

    monkeypatch.setattr(farm.quick_registry, "move_tag", refuse)
    with pytest.raises(told):
        farm.roll_back(first)
    assert farm.records.tag_target(images.repository) == before


def test_a_build_without_an_image_is_refused(farm, images):
    waiting = farm.submit(BuildRequest(tenant=images.tenant, app="web", source=SOURCE)).id
    with pytest.raises(RequestError, match="has no image"):
        farm.roll_back(waiting)
    with pytest.raises(NotFoundError):
        farm.roll_back("absent")


def test_it_works_over_http_on_the_command_line_and_on_the_page(farm, images):
    first, second = images.build("1"), images.build("2")
    with serving(farm) as api:
        text = api.token(images.tenant, "read", "submit")
        with Client(api.url, text) as client:
            assert client.roll_back(first).before == images.digest(second)
            with pytest.raises(ConflictError):
                client.roll_back(second, seen=images.digest(second))
        assert images.tagged == images.digest(first)
        command = [sys.executable, "-m", "buildfarm", "--url", api.url, "rollback", second, "--json"]
        environment = {"BUILDFARM_TOKEN": text, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["digest"] == images.tagged == images.digest(second)
        with httpx.Client(base_url=api.url, trust_env=False, timeout=30) as browser:
            browser.post("/sign-in", data={"token": text})
            page = browser.get(f"/apps/{images.tenant}/web").text
            assert f"/builds/{first}/rollback" in page
            assert f"/builds/{second}/rollback" not in page
            answer = browser.post(f"/builds/{first}/rollback", data={"seen": images.digest(second)})
            assert (answer.status_code, answer.headers["location"]) == (303, f"/apps/{images.tenant}/web")
            assert browser.post(f"/builds/{second}/rollback", data={"seen": images.digest(second)}).status_code == 422
        assert images.tagged == images.digest(first)
        with api.as_("other", "read", "submit") as other, api.as_(images.tenant, "read") as reader:
            assert other.post(f"/v1/builds/{first}/rollback").status_code == 404
            assert reader.post(f"/v1/builds/{first}/rollback").status_code == 403
    assert [entry.verb for entry in Audit(farm.database).newest(20)].count("image.roll_back") == 3

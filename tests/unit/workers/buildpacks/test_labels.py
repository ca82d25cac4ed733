"""Labels of images: what a buildpack sets does not replace what the farm says of the app and its source."""

from __future__ import annotations

from types import SimpleNamespace

from buildfarm.model import BuildRequest
from buildfarm.sources.address import ArtifactSource
from workers.buildpacks.labels import image_labels

TITLE, REVISION = "org.opencontainers.image.title", "org.opencontainers.image.revision"
REQUEST = BuildRequest(tenant="t", app="a", source=ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64))


def test_labels_of_a_buildpack_stand_beside_the_farms_own():
    labels = {TITLE: "bank/pay", REVISION: "0" * 40, "com.example": "1"}
    cnb = SimpleNamespace(labels=labels, launch_layers=(), buildpacks=(), stores={}, processes=())
    layers = SimpleNamespace(launch=[SimpleNamespace(diff_id="sha256:1")], app=[])
    found = image_labels(SimpleNamespace(cnb=cnb), REQUEST, "a" * 64, layers)
    assert (found[TITLE], found[REVISION], found["com.example"]) == ("t/a", "a" * 64, "1")

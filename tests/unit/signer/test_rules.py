"""What the signer requires of an image, as a table."""

from __future__ import annotations

import pytest

from buildfarm.model import Build, BuildRequest, ImageRequest
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import ImageConfig
from buildfarm.releases.labels import BASE_DIGEST
from buildfarm.sources.address import ArtifactSource, GitSource
from signer.rules import REVISION, TITLE, Expected, refusal, stands_on

BASE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64)
COMMIT = "c" * 40
GOOD = {TITLE: "t/a", REVISION: "a" * 64, BASE_DIGEST: BASE}


def config(labels, *layers):
    return ImageConfig("amd64", "linux", tuple(layers), {"Labels": labels}, (), {})


def expected(source=SOURCE, base=f"builder@{BASE}"):
    return Expected.of(build(BuildRequest(tenant="t", app="a", source=source), base))


def build(request, base=""):
    return Build(id="b", state="running", build_class="default", submitted_at=0, attempt=1, request=request, base=base)


def test_an_image_as_the_record_has_it_is_signed():
    assert refusal(expected(), "apps/t/a", config(GOOD)) == ""


@pytest.mark.parametrize(
    ("labels", "repository", "reason"),
    [
        ({}, "apps/t/b", "it is in apps/t/b"),
        ({TITLE: "t/b"}, "apps/t/a", "does not name t/a"),
        ({TITLE: ""}, "apps/t/a", "does not name t/a"),
        ({REVISION: "b" * 64}, "apps/t/a", "source"),
        ({REVISION: ""}, "apps/t/a", "source"),
        ({BASE_DIGEST: OTHER}, "apps/t/a", "the build's base"),
        ({BASE_DIGEST: ""}, "apps/t/a", "the build's base"),
    ],
)
def test_an_image_that_differs_from_the_record_is_refused(labels, repository, reason):
    assert reason in refusal(expected(), repository, config({**GOOD, **labels}))


@pytest.mark.parametrize(
    ("ref", "revision", "is_signed"),
    [
        ("main", COMMIT, True),
        ("main", "main", False),
        ("main", "", False),
        (COMMIT, COMMIT, True),
        (COMMIT, "d" * 40, False),
    ],
)
def test_a_build_of_a_branch_names_a_commit_and_a_build_of_a_commit_names_that_one(ref, revision, is_signed):
    asked = expected(source=GitSource(url="https://example.com/a.git", ref=ref))
    assert (refusal(asked, "apps/t/a", config({**GOOD, REVISION: revision})) == "") is is_signed


def test_the_farms_own_images_need_their_repository_alone():
    asked = Expected.of(build(ImageRequest(image="redis", version="7", source=SOURCE)))
    assert refusal(asked, "images/redis", config({})) == ""
    assert "it is in images/other" in refusal(asked, "images/other", config({}))
    tool = Expected.of(build(ImageRequest(image="tools/jdk", version="21", source=SOURCE)))
    assert refusal(tool, "tools/jdk", config({})) == ""


def test_labels_of_another_form_are_no_labels():
    assert "does not name t/a" in refusal(expected(), "apps/t/a", config(["a"]))


def test_an_image_stands_on_a_base_if_its_lowest_layers_are_the_bases():
    one, two, three = (Digest.of(text) for text in (b"1", b"2", b"3"))
    base = config({}, one, two)
    assert stands_on(config({}, one, two, three), base)
    assert not stands_on(config({}, one, three, two), base)
    assert not stands_on(config({}, one), base)

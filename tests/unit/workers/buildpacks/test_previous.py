"""What a Cloud Native Buildpack is given of the app's image before."""

from __future__ import annotations

from buildfarm.model import BuildRequest
from buildfarm.sources.address import ArtifactSource
from workers.buildpacks.previous import PreviousImage, read_previous


class NoRegistry:
    def read_manifest(self, repository, tag):
        raise AssertionError("a clean build asked for the image before")


def test_a_clean_build_gets_no_layer_of_the_image_before():
    source = ArtifactSource(repository="sources/t", digest="sha256:" + "0" * 64)
    request = BuildRequest(tenant="t", app="a", source=source, clean=True)
    assert read_previous(NoRegistry(), request) == PreviousImage()

"""Equal inputs have one digest; a config var that is marked as a secret since makes another."""

from __future__ import annotations

from buildfarm.input_digest import input_digest
from buildfarm.model import BuildRequest
from buildfarm.settings import Settings
from buildfarm.sources.address import ArtifactSource

SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64)
ENV = {"A": "a-first-value", "B": "a-second-value"}


def digest(*secrets):
    request = BuildRequest(tenant="t", app="a", source=SOURCE, env=ENV, secrets=secrets)
    return input_digest(request, "sha256:" + "b" * 64, Settings())


def test_an_equal_request_with_other_marks_is_another_input():
    """The earlier image was not searched for this value."""
    assert len({digest(), digest("A"), digest("B"), digest("A", "B")}) == 4


def test_the_order_of_the_marks_does_not_count():
    assert digest("A", "B") == digest("B", "A")


def test_the_channel_by_which_the_image_names_its_base_belongs_to_it():
    request = BuildRequest(tenant="t", app="a", source=SOURCE)
    digests = [input_digest(request, "sha256:" + "b" * 64, Settings(), channel) for channel in ("stable", "next")]
    assert len({*digests, input_digest(request, "sha256:" + "b" * 64, Settings())}) == 2

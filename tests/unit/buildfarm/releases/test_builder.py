"""What may become the builder, and the tag by which images name it."""

from __future__ import annotations

import pytest

from buildfarm.errors import RequestError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Manifest, media_types
from buildfarm.releases.builder import check_builder, move_channel
from testkit.registry.builder import push_builder, push_patched

LABELS = {"buildfarm.platform": "2"}


def builder_of(registry, name):
    return push_patched(registry, push_builder(registry), {name: name}, "2026-01-01T00:00:00Z", Labels=LABELS)


def copied(registry, reference, repository, annotations=None):
    """The same image in another repository, with annotations."""
    place, _, digest = reference.partition("@")
    manifest, _ = registry.read_manifest(place, digest)
    for blob in (manifest.config, *manifest.layers):
        assert registry.mount(repository, blob.digest, place)
    types = media_types("docker")
    content = Manifest(types.manifest, manifest.config, manifest.layers, annotations=annotations or {}).encode()
    return f"{repository}@{registry.put_manifest(repository, content, types.manifest, tag=None)}"


@pytest.mark.parametrize(
    ("repository", "annotations"),
    [("apps/t/a", None), ("elsewhere", {"io.buildfarm.release": Digest.of(b"a release")})],
    ids=["by its repository", "by its annotation"],
)
def test_an_app_s_image_is_no_builder_though_it_has_the_builder_s_labels(registry, repository, annotations):
    reference = builder_of(registry, "first")
    assert check_builder(registry, reference) == reference
    with pytest.raises(RequestError, match="is an app's image, not a builder"):
        check_builder(registry, copied(registry, reference, repository, annotations))
    plain = copied(registry, reference, "elsewhere")
    assert check_builder(registry, plain) == plain


def test_of_two_promotions_at_once_the_record_decides_where_the_tag_is(registry):
    first, second = builder_of(registry, "first"), builder_of(registry, "second")
    said = iter([first, second, second])
    move_channel(registry, first, lambda: next(said))
    assert registry.get_manifest("builder", "stable")[2] == second.partition("@")[2]
    assert next(said, None) is None


@pytest.mark.parametrize("recorded", ["elsewhere", ""])
def test_a_builder_of_another_repository_leaves_this_one_s_tag_to_its_newest(registry, recorded):
    first = builder_of(registry, "first")
    other = copied(registry, first, recorded) if recorded else ""
    move_channel(registry, first, lambda: other)
    assert registry.get_manifest("builder", "stable")[2] == first.partition("@")[2]

"""Which apps may move to which base, and the reasons."""

from __future__ import annotations

import json

import pytest

from buildfarm.oci.digest import Digest
from buildfarm.oci.image import AddedLayer, RuntimeConfig
from buildfarm.oci.manifest import Descriptor, ImageConfig, LayerDigests, Manifest, canonical_json, media_types
from buildfarm.releases.base import Base
from buildfarm.releases.compose import compose, release_of
from buildfarm.releases.movable import NewestImage, refusals

LABELS = {
    "io.buildpacks.stack.id": "buildfarm.trixie",
    "io.buildpacks.base.distro.name": "debian",
    "io.buildpacks.base.distro.version": "13",
    "buildfarm.platform": "2",
}
LAYER = AddedLayer(LayerDigests(Digest.of(b"own"), Digest.of(b"own diff"), 5, 10), "made")


def base_of(layers=1, created="2026-01-02T00:00:00Z", architecture="amd64", variant=None, **labels):
    named = {
        name: value
        for name, value in {**LABELS, **{k.replace("_", "."): v for k, v in labels.items()}}.items()
        if value
    }
    diff_ids = [Digest.of(f"{number}".encode()) for number in range(layers)]
    content = canonical_json(
        {
            "architecture": architecture,
            "os": "linux",
            "created": created,
            **({"variant": variant} if variant else {}),
            "config": {"Labels": named},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
    )
    types = media_types("docker")
    manifest = Manifest(
        types.manifest,
        Descriptor(types.config, Digest.of(content), len(content)),
        tuple(Descriptor(types.layers["gzip"], diff_id, 5) for diff_id in diff_ids),
    )
    return Base("builder", Digest.of(manifest.encode()), manifest, content)


def image_on(base, **labels):
    release = release_of(
        base, [LAYER], changes=RuntimeConfig(labels=labels), kind="docker", compression="gzip", registry="r.example.org"
    )
    made = compose(release, base)
    found = NewestImage("apps/t/a", made.digest, Manifest.parse(made.manifest), ImageConfig.parse(made.config))
    return found, release


def reasons(other, *, before=None, older=False, first=None, **labels):
    first = first or base_of()
    image, release = image_on(first, **labels)
    return "; ".join(refusals(image, release, before, other, older=older))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (base_of(layers=3), ""),
        (base_of(architecture="arm64"), "its architecture is arm64, not amd64"),
        (base_of(io_buildpacks_stack_id="buildfarm.bookworm"), "its stack is buildfarm.bookworm, not buildfarm.trixie"),
        (base_of(io_buildpacks_stack_id=""), "its stack is not set, not buildfarm.trixie"),
        (base_of(io_buildpacks_base_distro_version="12"), "its distribution version is 12, not 13"),
        (base_of(io_buildpacks_base_distro_version=""), ""),
        (base_of(variant="v8"), ""),
        (base_of(buildfarm_platform="1"), "its platform is 1, not 2"),
        (base_of(layers=126), ""),
        (base_of(layers=127), "the image would have 128 layers, and 127 are possible"),
    ],
)
def test_a_base_of_another_stack_is_refused_with_the_reason(other, reason):
    assert reasons(other) == reason


def test_an_older_base_is_refused_unless_it_is_wanted():
    older, newer = base_of(created="2026-01-01T00:00:00Z"), base_of()
    assert "made at 2026-01-01T00:00:00Z, before the base that the app is on" in reasons(older, before=newer)
    assert reasons(older, before=newer, older=True) == reasons(newer, before=older) == reasons(older) == ""


@pytest.mark.parametrize(
    "created",
    ["1970-01-01T00:00:01Z", "1970-01-01T01:00:01+01:00", "0001-01-01T00:00:00Z", "", None, "yesterday", "2026-01-01"],
)
def test_a_base_without_a_date_of_its_own_is_neither_older_nor_newer(created):
    """The farm's own builders are made alike everywhere, and so have one and the same date."""
    dated, undated = base_of(), base_of(created=created)
    assert undated.made_at is None
    assert reasons(undated, before=dated) == reasons(dated, before=undated) == reasons(undated, before=undated) == ""


def test_dates_are_compared_as_times():
    older, newer = base_of(created="2026-01-02T01:30:00+02:00"), base_of(created="2026-01-02T00:00:00.123456789Z")
    assert "it was made at 2026-01-02T01:30:00+02:00, before" in reasons(older, before=newer)
    assert reasons(newer, before=older) == ""


def test_an_image_that_says_that_it_cannot_be_moved_is_refused():
    label = "io.buildpacks.rebasable"
    assert reasons(base_of(), **{label: "false"}) == f"the image's label {label} is false"
    assert reasons(base_of(), **{label: "true"}) == ""


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("r.example.org:5000/images/builder:stable", "images/builder"),
        ("builder", "builder"),  # as older versions of the farm wrote it
        ("images/builder", "images/builder"),
    ],
)
def test_the_base_that_an_image_names(name, repository):
    base = base_of()
    image, _ = image_on(base)
    assert image.base == ("builder", base.digest)
    config = json.loads(base.content)
    config["config"]["Labels"] = {
        "org.opencontainers.image.base.name": name,
        "org.opencontainers.image.base.digest": base.digest,
    }
    plain = NewestImage("apps/t/a", image.digest, base.manifest, ImageConfig.parse(json.dumps(config).encode()))
    assert plain.base == (repository, base.digest)
    assert NewestImage("apps/t/a", image.digest, base.manifest, base.config).base == ("", "")

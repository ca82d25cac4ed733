"""A release on the base that it was built on is the published image; on another base it follows that base."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm.oci import image as images
from buildfarm.oci.digest import Digest
from buildfarm.oci.env import EnvChange, applied, difference
from buildfarm.oci.image import AddedLayer, RuntimeConfig
from buildfarm.oci.manifest import Descriptor, LayerDigests, Manifest, canonical_json, media_types
from buildfarm.releases.base import Base
from buildfarm.releases.compose import compose, release_of
from buildfarm.releases.document import FACTS_TYPE_PREFIX, RELEASE_ANNOTATION, RELEASE_TYPE, decode, encode
from buildfarm.releases.labels import LIFECYCLE_LABEL, compact
from buildfarm.releases.release import Release

HOST = "registry.example.org:5000"
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
NAMES = st.text(string.ascii_uppercase, min_size=1, max_size=3)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
FOLDERS = st.lists(st.sampled_from(["/bin", "/usr/bin", "/app/bin", ""]), min_size=1, max_size=3).map(":".join)
VARIABLES = st.dictionaries(NAMES, VALUES, max_size=6)
LABELS = st.dictionaries(
    st.sampled_from(
        [
            "io.buildpacks.stack.id",
            "io.buildpacks.base.distro.name",
            "buildfarm.platform",
            "org.example.a",
            "maintainer",
        ]
    ),
    VALUES,
    max_size=5,
)
DIGESTS = st.integers(0, 10**6).map(lambda number: Digest.of(str(number).encode()))


def base_of(diff_ids: list[Digest], env: list[str] | None, labels: dict[str, str], **runtime: Any) -> Base:
    """A base with one blob for each diff ID."""
    fields = {**runtime, **({"Env": env} if env is not None else {}), **({"Labels": labels} if labels else {})}
    config = canonical_json(
        {"architecture": "amd64", "os": "linux", "config": fields, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    )
    types = media_types("docker")
    layers = tuple(Descriptor(types.layers["gzip"], Digest.of(diff_id.encode()), 10) for diff_id in diff_ids)
    manifest = Manifest(types.manifest, Descriptor(types.config, Digest.of(config), len(config)), layers)
    return Base("builder", Digest.of(manifest.encode()), manifest, config)


@st.composite
def bases(draw: st.DrawFn) -> Base:
    values = draw(VARIABLES)
    if path := draw(st.none() | FOLDERS):
        values["PATH"] = path
    lines = [f"{name}={value}" for name, value in draw(st.permutations(list(values.items())))]
    runtime = {"Cmd": ["bash"], "Volumes": {"/data": {}}, "ExposedPorts": {"9/tcp": {}}}
    kept = draw(st.sets(st.sampled_from(sorted(runtime))))
    return base_of(
        draw(st.lists(DIGESTS, min_size=1, max_size=3, unique=True)),
        lines or draw(st.sampled_from([[], None])),
        draw(LABELS),
        **{name: runtime[name] for name in kept},
    )


@st.composite
def builds(draw: st.DrawFn, base: Base) -> tuple[list[AddedLayer], RuntimeConfig, str]:
    variables = draw(VARIABLES)
    own = dict(line.partition("=")[::2] for line in base.variables).get("PATH", "/elsewhere")
    if front := draw(st.none() | FOLDERS):
        variables["PATH"] = draw(st.sampled_from([f"{front}:{own}", front]))
    labels = draw(LABELS)
    if draw(st.booleans()):  # made by Cloud Native Buildpacks
        labels[LIFECYCLE_LABEL] = compact({"app": [{"sha": "x"}], "buildpacks": [{"key": draw(VALUES)}]})
    diff_ids = draw(st.lists(DIGESTS, min_size=1, max_size=4))
    layers = [AddedLayer(LayerDigests(Digest.of(one.encode()), one, 5, 10), "made") for one in diff_ids]
    changes = RuntimeConfig(
        entrypoint=draw(st.none() | st.just(("/start",))),
        cmd=draw(st.none() | st.just(("web",))),
        user=draw(st.none() | st.just("1000:1000")),
        working_dir=draw(st.none() | st.just("/app")),
        env=variables,
        labels=labels,
        exposed_ports=draw(st.sampled_from([(), ("8080/tcp",)])),
    )
    return layers, changes, draw(st.sampled_from(["gzip", "zstd", "none"]))


def stored(release: Release) -> Release:
    """The release as it comes back from a registry."""
    kept = encode(release)
    assert encode(release) == kept
    return decode(Manifest.parse(kept.manifest, kept.media_type), kept.document)


def published(base: Base, layers: list[AddedLayer], changes: RuntimeConfig, kind: Any, compression: Any) -> Any:
    """Config and layers of the image that a build publishes, made without a release."""
    found = images.compose(base.manifest, base.content, layers, changes=changes, kind=kind, compression=compression)
    return json.loads(found.config), Manifest.parse(found.manifest)


def variables_of(config: Any) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in config["config"].get("Env") or ())


@PATIENT
@given(st.data(), st.sampled_from(["docker", "oci"]))
def test_a_stored_release_on_its_own_base_is_the_published_image(data: st.DataObject, kind: Any) -> None:
    base = data.draw(bases())
    layers, changes, compression = data.draw(builds(base))
    release = release_of(base, layers, changes=changes, kind=kind, compression=compression, registry=HOST)
    found = compose(release, base)
    assert compose(stored(release), base) == found
    config, manifest = published(base, layers, changes, kind, compression)
    assert Manifest.parse(found.manifest).layers == manifest.layers
    told = json.loads(found.config)
    assert variables_of(told) == variables_of(config)
    assert list(variables_of(told)) == list(variables_of(config))
    labels, expected = (one["config"].pop("Labels", {}) for one in (told, config))
    for one in (told, config):
        one["config"].pop("Env", None)
    assert told == config
    of_the_base = ("io.buildpacks.stack.", "io.buildpacks.base.")
    for name in {*labels, *expected}:
        if name.startswith(of_the_base):
            assert labels.get(name) == base.labels.get(name)
        elif not name.startswith("org.opencontainers.image.base.") and name != LIFECYCLE_LABEL:
            assert labels[name] == expected[name]


@PATIENT
@given(st.data())
def test_on_another_base_it_follows_that_base(data: st.DataObject) -> None:
    first, second = data.draw(bases()), data.draw(bases())
    layers, changes, compression = data.draw(builds(first))
    made = release_of(first, layers, changes=changes, kind="docker", compression=compression, registry=HOST)
    release = stored(made)
    found = compose(release, second)
    config, manifest = json.loads(found.config), Manifest.parse(found.manifest)
    before = dict(line.partition("=")[::2] for line in first.variables)
    after = dict(line.partition("=")[::2] for line in second.variables)
    image = {**before, **changes.env}
    env = variables_of(config)
    for name in {*env, *before, *after, *changes.env}:
        if name == "PATH" and release.runtime.env.path:
            front = image["PATH"].removesuffix(f":{before['PATH']}")
            assert env["PATH"] == ":".join(filter(None, (front, after.get("PATH"))))
        elif image.get(name) == before.get(name):  # no difference: as the base has it, or has it not
            assert env.get(name) == after.get(name)
        else:
            assert env[name] == image[name]
    assert config["rootfs"]["diff_ids"] == [*second.config.diff_ids, *(layer.digests.diff_id for layer in layers)]
    assert manifest.layers[len(second.manifest.layers) :] == tuple(layer.blob for layer in release.layers)
    assert config["config"].get("Volumes") == second.config.runtime.get("Volumes")
    # Moving back gives the first image again.
    assert compose(release, first) == compose(made, first)
    assert manifest.annotations[RELEASE_ANNOTATION] == encode(release).digest


@PATIENT
@given(st.data())
def test_labels_and_annotations_name_the_base_that_the_image_stands_on(data: st.DataObject) -> None:
    first, second = data.draw(bases()), data.draw(bases())
    layers, changes, compression = data.draw(builds(first))
    release = release_of(first, layers, changes=changes, kind="oci", compression=compression, registry=HOST)
    for base in (first, second):
        found = compose(release, base)
        labels = json.loads(found.config)["config"]["Labels"]
        manifest = Manifest.parse(found.manifest)
        for told in (labels, manifest.annotations):
            assert told["org.opencontainers.image.base.name"] == f"{HOST}/builder:stable"
            assert told["org.opencontainers.image.base.digest"] == base.digest
        # The app follows another channel by now: its image says so, and is of the same release.
        other = Manifest.parse(compose(release, base, "next").manifest)
        assert other.annotations["org.opencontainers.image.base.name"] == f"{HOST}/builder:next"
        assert other.annotations[RELEASE_ANNOTATION] == manifest.annotations[RELEASE_ANNOTATION]
        for name in ("io.buildpacks.stack.id", "io.buildpacks.base.distro.name"):
            assert labels.get(name) == base.labels.get(name)
        if LIFECYCLE_LABEL in changes.labels:
            told = json.loads(labels[LIFECYCLE_LABEL])
            assert told.pop("runImage") == {
                "topLayer": base.config.diff_ids[-1],
                "reference": f"{HOST}/builder@{base.digest}",
                "image": f"{HOST}/builder:stable",
            }
            assert compact(told) == changes.labels[LIFECYCLE_LABEL]


@PATIENT
@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_a_difference_makes_the_image_s_variables_in_their_order(
    before: list[tuple[str, str]], after: list[tuple[str, str]]
) -> None:
    base, image = ([f"{name}={value}" for name, value in dict(pairs).items()] for pairs in (before, after))
    assert applied(difference(base, image), base) == image


@pytest.mark.parametrize(
    ("base", "image", "other", "found"),
    [
        (["PATH=/bin"], ["PATH=/app:/bin"], ["PATH=/usr/bin:/bin"], ["PATH=/app:/usr/bin:/bin"]),
        (["PATH=/bin"], ["PATH=/app:/bin:/x"], ["PATH=/usr/bin"], ["PATH=/app:/bin:/x"]),
        (["PATH=/bin"], ["PATH=/bin"], ["PATH=/usr/bin"], ["PATH=/usr/bin"]),
        (["PATH=/bin"], ["PATH=/app:/bin"], ["A=1"], ["A=1", "PATH=/app"]),
        (["PATH="], ["PATH=/app:"], ["PATH=/bin"], ["PATH=/app:"]),
        ([], ["PATH=/app"], ["PATH=/bin"], ["PATH=/app"]),
        (["A=1", "B=2"], ["A=1", "B=3", "C=4"], ["A=9"], ["A=9", "B=3", "C=4"]),
        (["A=1", "B=2"], ["B=2"], ["A=9", "D=5"], ["D=5"]),
    ],
    ids=["in front", "around", "the base's", "none there", "empty", "none before", "dropped by the base", "unset"],
)
def test_variables_on_another_base(base: list[str], image: list[str], other: list[str], found: list[str]) -> None:
    assert applied(difference(base, image), other) == found


def test_the_stored_release_has_each_layer_s_media_type_and_its_facts() -> None:
    base = base_of([Digest.of(b"base")], ["PATH=/bin"], {})
    layers = [AddedLayer(LayerDigests(Digest.of(b"a"), Digest.of(b"A"), 5, 10), "made")]
    changes = RuntimeConfig(env={"PATH": "/app:/bin"})
    made = release_of(base, layers, changes=changes, kind="docker", compression="zstd", registry=HOST)
    facts = Descriptor(f"{FACTS_TYPE_PREFIX}v1+json", Digest.of(b"facts"), 5)
    release = Release(**{**vars(made), "facts": (facts,)})
    kept = encode(release)
    told = json.loads(kept.manifest)
    assert (told["artifactType"], told["config"]["mediaType"]) == (RELEASE_TYPE, RELEASE_TYPE)
    assert [one["mediaType"] for one in told["layers"]] == [
        "application/vnd.docker.image.rootfs.diff.tar.zstd", facts.media_type,
    ]  # fmt: skip
    assert json.loads(kept.document)["config"]["env"] == {"set": [], "unset": [], "prepend": {"PATH": "/app"}}
    assert stored(release) == release
    assert release.runtime.env == EnvChange(path="/app")


@pytest.mark.parametrize(
    "damage", [b"{}", b"[]", b"null", b"no JSON", b'{"layers": 1}', b'{"layers": [{}], "config": []}']
)
def test_a_damaged_release_is_refused(damage: bytes) -> None:
    blob = Descriptor("application/vnd.oci.image.layer.v1.tar", Digest.of(b"a"), 5)
    manifest = Manifest(media_types("oci").manifest, Descriptor(RELEASE_TYPE, Digest.of(damage), 1), (blob,))
    with pytest.raises(ValueError, match="release"):
        decode(manifest, damage)
    newer = Manifest(
        manifest.media_type, Descriptor("application/vnd.buildfarm.release.v2+json", blob.digest, 1), (blob,)
    )
    with pytest.raises(ValueError, match="not a release that this version"):
        decode(newer, b"{}")

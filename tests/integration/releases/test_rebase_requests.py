"""What a move to another base asks of the registry, what keeps builds safe from it, and what it refuses.

Redis is real. The registry is in this process, so that each of its requests is seen.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from buildfarm.errors import NotFoundError, NotRebasableError, RegistryError, RequestError, StoreError, UnconfirmedError
from buildfarm.farm import open_farm
from buildfarm.model import BuildRequest
from buildfarm.oci.registry import Registry
from buildfarm.releases.rebases import REBASES_MAX
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import Tags
from testkit.registry.builder import push_builder, push_patched
from testkit.registry.fake import FakeRegistry
from workers.build_folder import BuildFolder
from workers.builder import Builder
from workers.export.exporter import Exporter
from workers.export.fingerprint import Recent
from workers.upkeep.tag_repair import TagRepair

SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64)
REQUEST = BuildRequest(tenant="t", app="a", source=SOURCE)
TARGET = REQUEST.repository
LABELS = {"buildfarm.platform": "2", "io.buildpacks.stack.id": "buildfarm.trixie"}
FIRST, SECOND = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


class Known(dict):
    put = dict.__setitem__


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def farm(settings, fake):
    with open_farm(settings.model_copy(update={"registry_url": f"http://{fake.host}", "builder": ""})) as farm:
        yield farm


def read(registry, reference):
    repository, _, digest = reference.partition("@")
    manifest, found = registry.read_manifest(repository, digest)
    return Builder("unused", repository, found, manifest, registry.read_blob(repository, manifest.config.digest))


def base(farm, created, labels=LABELS, **config):
    """A base with a file of its own."""
    small = push_builder(farm.registry)
    return push_patched(farm.registry, small, {"patch": created}, created, Labels=labels, **config)


@pytest.fixture
def first(farm):
    reference = base(farm, FIRST)
    assert farm.promote_builder(reference) == reference
    return reference


@pytest.fixture
def deploy(farm, first, tmp_path):
    """``deploy(code)`` publishes an image of the app as a build does, without a node; returns its digest."""
    (tmp_path / "app").mkdir()

    def run(code):
        (tmp_path / "app/code").write_text(code)
        exporter = Exporter(farm.registry, "gzip", 2, "docker", 10**8, 10**5, 8, Known(), Recent())
        found = exporter.export(
            BuildFolder(tmp_path / "app"), read(farm.registry, first), REQUEST,
            source_names={"app/code"}, process_types={"web": "x"}, variables={}, labels=lambda _: {},
        )  # fmt: skip
        farm.database.client.hset(farm.database.key("tags"), TARGET, found.image.digest)
        farm.registry.move_tag(TARGET, "latest", lambda: farm.records.tag_target(TARGET), exporter.sent)
        return found.image.digest

    return run


def rootfs_of(reference, farm):
    """With one layer more than the base has."""
    diff_ids = read(farm.registry, reference).base.config.diff_ids
    return {"type": "layers", "diff_ids": [*diff_ids, diff_ids[0]]}


def tagged(farm):
    return farm.registry.get_manifest(TARGET, "latest")[2]


def test_no_layer_of_the_app_is_read_or_sent(farm, fake, deploy):
    image = deploy("1")
    own = farm.registry.read_manifest(TARGET, image)[0].layers[-1]
    second = base(farm, SECOND)
    sent_before = {digest: len(blob) for digest, blob in fake.repository(TARGET).blobs.items()}
    del fake.log[:]
    moved = farm.rebase("t", "a", base=second)
    requests = list(fake.log)
    assert moved.moved
    assert tagged(farm) == farm.records.tag_target(TARGET) == moved.image
    assert not any(own.digest in line for line in requests)
    written = [line for line in requests if line.split()[0] in ("POST", "PUT", "PATCH")]
    # The base's new layer is mounted; a session and its end for the config; the manifest, and the tag.
    assert [line.split()[0] for line in written] == ["POST", "POST", "PUT", "PUT", "PUT"]
    assert len(requests) <= 20
    new = {digest: len(blob) for digest, blob in fake.repository(TARGET).blobs.items() if digest not in sent_before}
    layer = farm.registry.read_manifest(*second.split("@"))[0].layers[-1]
    assert sum(size for digest, size in new.items() if digest != layer.digest) < 20_000
    del fake.log[:]
    assert not farm.rebase("t", "a", base=second).moved
    assert {line.split()[0] for line in fake.log} <= {"GET", "HEAD"}


def test_a_dry_run_writes_nothing(farm, fake, deploy):
    image = deploy("1")
    second = base(farm, SECOND)
    del fake.log[:]
    planned = farm.rebase("t", "a", base=second, dry_run=True)
    assert not planned.moved
    assert (planned.previous, planned.base) == (image, second)
    assert {line.split()[0] for line in fake.log} == {"GET"}
    assert tagged(farm) == image
    assert farm.app_image("t", "a").rebases == ()
    assert farm.rebase("t", "a", base=second).image == planned.image


def test_a_build_that_publishes_meanwhile_keeps_its_place_and_is_moved_itself(farm, deploy, monkeypatch):
    """Between the look at the image and the change of the record a build publishes; twice."""
    old, second, built = deploy("1"), base(farm, SECOND), []
    put = Registry.put_manifest

    def publish_meanwhile(registry, repository, content, media_type, *, tag):
        digest = put(registry, repository, content, media_type, tag=tag)
        if repository == TARGET and tag is None and len(built) < 2:
            monkeypatch.setattr(Registry, "put_manifest", put)
            built.append(deploy(f"newer {len(built)}"))
            monkeypatch.setattr(Registry, "put_manifest", publish_meanwhile)
        return digest

    monkeypatch.setattr(Registry, "put_manifest", publish_meanwhile)
    moved = farm.rebase("t", "a", base=second)
    assert len(built) == 2
    assert moved.previous == built[-1] != old
    assert tagged(farm) == farm.records.tag_target(TARGET) == moved.image
    assert [one.previous for one in farm.app_image("t", "a").rebases] == [built[-1]]


def test_builds_that_publish_all_the_time_are_left_alone(farm, deploy, monkeypatch):
    deploy("1")
    second, count = base(farm, SECOND), iter(range(100))
    put = Registry.put_manifest

    def publish_meanwhile(registry, repository, content, media_type, *, tag):
        digest = put(registry, repository, content, media_type, tag=tag)
        if repository == TARGET and tag is None:
            monkeypatch.setattr(Registry, "put_manifest", put)
            deploy(f"newer {next(count)}")
            monkeypatch.setattr(Registry, "put_manifest", publish_meanwhile)
        return digest

    monkeypatch.setattr(Registry, "put_manifest", publish_meanwhile)
    with pytest.raises(NotRebasableError, match="publish faster than it can be moved"):
        farm.rebase("t", "a", base=second)
    assert tagged(farm) == farm.records.tag_target(TARGET)
    assert farm.app_image("t", "a").base == farm.builder()


def test_a_tag_that_could_not_be_moved_is_moved_by_a_node(farm, deploy, monkeypatch):
    image, second = deploy("1"), base(farm, SECOND)
    move = Registry.move_tag

    def fail(*_):
        raise RegistryError("The registry is gone.")

    monkeypatch.setattr(Registry, "move_tag", fail)
    moved = farm.rebase("t", "a", base=second)
    assert (tagged(farm), farm.records.tag_target(TARGET)) == (image, moved.image)
    monkeypatch.setattr(Registry, "move_tag", move)
    TagRepair(farm.records, farm.registry, NoLog()).repair()
    assert tagged(farm) == moved.image


def test_a_move_that_too_few_replicas_have_leaves_the_tag_to_a_node(farm, deploy):
    image, second = deploy("1"), base(farm, SECOND)
    alone = replace(farm.database, replicas_min=1, replica_wait_seconds=0.05)
    lone = replace(farm, records=replace(farm.records, admission=replace(farm.admission, database=alone)))
    with pytest.raises(UnconfirmedError, match="t/a was moved, but too few replicas"):
        lone.rebase("t", "a", base=second)
    assert tagged(farm) == image
    assert not farm.rebase("t", "a", base=second).moved  # it is on the new base
    assert farm.database.client.zscore(farm.database.key("unsettled"), TARGET) is not None  # in five seconds
    Tags(farm.database).mark(TARGET)
    TagRepair(farm.records, farm.registry, NoLog()).repair()
    assert tagged(farm) == farm.records.tag_target(TARGET) != image


def test_a_move_whose_tag_needs_redis_ends_well_without_it(farm, deploy, monkeypatch):
    """The move is recorded, so its caller writes it into the audit log; the tag is a node's then."""
    image, second = deploy("1"), base(farm, SECOND)

    def fail(*_):
        raise StoreError("Redis is gone.")

    monkeypatch.setattr(Registry, "move_tag", fail)
    monkeypatch.setattr(Tags, "mark", fail)
    moved = farm.rebase("t", "a", base=second)
    assert (tagged(farm), farm.records.tag_target(TARGET)) == (image, moved.image)


def test_layers_of_the_base_that_are_gone_are_taken_over_again(farm, fake, deploy):
    image = deploy("1")
    second = base(farm, SECOND)
    layers, blobs = farm.registry.read_manifest(TARGET, image)[0].layers, fake.repository(TARGET).blobs
    del blobs[layers[0].digest]
    assert farm.rebase("t", "a", base=second).moved
    assert layers[0].digest in blobs
    del blobs[layers[-1].digest]  # the app's own: no base has it
    with pytest.raises(NotRebasableError, match="no longer has all layers"):
        farm.rebase("t", "a", older=True)


class NoLog:
    def warning(self, *_, **__):
        pass


def test_the_newest_moves_of_an_app_are_listed(farm, deploy):
    built = deploy("1")
    bases = [base(farm, SECOND), farm.builder()]
    for number in range(REBASES_MAX + 5):
        assert farm.rebase("t", "a", base=bases[number % 2], older=True).moved
    found = farm.app_image("t", "a").rebases
    assert len(found) == REBASES_MAX
    assert found[0].image == farm.records.tag_target(TARGET)
    assert all(newer.previous == older.image for newer, older in pairwise(found))
    assert {one.built for one in found} == {built}
    newer = deploy("2")
    assert farm.rebase("t", "a", base=bases[0]).built == newer


@pytest.mark.parametrize(
    ("created", "config", "reason"),
    [
        ("2025-12-31T00:00:00Z", {}, "before the base that the app is on"),
        (SECOND, {"architecture": "arm64"}, "its architecture is arm64, not amd64"),
        (SECOND, {"labels": {**LABELS, "io.buildpacks.stack.id": "x"}}, "its stack is x, not buildfarm.trixie"),
        (SECOND, {"labels": {**LABELS, "buildfarm.platform": "1"}}, "its platform is 1, not 2"),
    ],
    ids=["older", "architecture", "stack", "platform"],
)
def test_a_base_that_does_not_fit_is_refused_with_the_reason(farm, deploy, created, config, reason):
    image = deploy("1")
    other = base(farm, created, **config)
    with pytest.raises(NotRebasableError, match=reason):
        farm.rebase("t", "a", base=other)
    assert tagged(farm) == farm.records.tag_target(TARGET) == image


def test_what_is_not_there_is_refused(farm, deploy, fake):
    second = base(farm, SECOND)
    with pytest.raises(NotFoundError, match="has no image"):
        farm.rebase("t", "a", base=second)
    image = deploy("1")
    for unknown in ("sha256:" + "0" * 64, "builder:absent", f"absent@sha256:{'0' * 64}"):
        with pytest.raises(RequestError, match="has no image"):
            farm.rebase("t", "a", base=unknown)
    plain = push_builder(farm.registry)
    with pytest.raises(RequestError, match="is not a builder"):
        farm.rebase("t", "a", base=f"builder@{plain.digest}")
    with pytest.raises(RequestError, match=r"No app can stand on builder@.* names 4 layers, its manifest 3"):
        farm.rebase("t", "a", base=base(farm, SECOND, rootfs=rootfs_of(second, farm)))
    release = farm.app_image("t", "a").release
    del fake.repository(TARGET).manifests[release]
    with pytest.raises(NotRebasableError, match="no longer has the release"):
        farm.rebase("t", "a", base=second)
    del fake.repository(TARGET).manifests[image]
    with pytest.raises(NotRebasableError, match="no longer has the image"):
        farm.rebase("t", "a", base=second)


def test_an_image_without_a_release_must_be_built_again(farm, first):
    builder = read(farm.registry, first)
    farm.registry.put_blob(TARGET, builder.config)
    for layer in builder.manifest.layers:
        assert farm.registry.mount(TARGET, layer.digest, builder.repository)
    digest = farm.registry.put_manifest(TARGET, builder.manifest.encode(), builder.manifest.media_type, tag="latest")
    farm.database.client.hset(farm.database.key("tags"), TARGET, digest)
    assert farm.app_image("t", "a").release == ""
    with pytest.raises(NotRebasableError, match="an older version of the farm built it"):
        farm.rebase("t", "a")


def test_a_promoted_builder_has_the_tag_by_which_images_name_it(farm, first, deploy):
    name = farm.registry.read_manifest(TARGET, deploy("1"))[0].annotations["org.opencontainers.image.base.name"]
    repository, _, tag = name.removeprefix(f"{farm.registry.host}/").partition(":")
    assert f"{repository}@{farm.registry.read_manifest(repository, tag)[1]}" == first
    second = base(farm, SECOND)
    farm.promote_builder(second)
    assert f"{repository}@{farm.registry.read_manifest(repository, tag)[1]}" == second
    assert farm.rebase("t", "a").base == second


def test_a_farm_without_a_builder_says_so(farm):
    with pytest.raises(RequestError, match="no builder yet"):
        farm.rebase("t", "a")

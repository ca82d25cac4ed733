"""The exporter against a real registry and a real engine: trees, layers, and what is known of them."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm.errors import Cancelled, CompileError, TooLargeError
from buildfarm.model import BuildRequest
from buildfarm.oci.manifest import Manifest
from buildfarm.oci.tree import tree_names
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import KnownLayers, ScannedLayers
from testkit.generated_trees import TREES, describe, plant
from workers.attempt.signals import go_on
from workers.build_folder import BuildFolder
from workers.builder import Builder
from workers.export.exporter import Exporter
from workers.export.fingerprint import Recent

MIB = 1024 * 1024


@pytest.fixture
def builder(farm):
    repository, _, digest = farm.settings.builder.partition("@")
    media_type, content, found = farm.registry.get_manifest(repository, digest)
    manifest = Manifest.parse(content, media_type)
    return Builder("unused", repository, found, manifest, farm.registry.read_blob(repository, manifest.config.digest))


@pytest.fixture
def export(farm, builder):
    """``export(root, source, app)`` with the given number of layers at most, on a node that remembers nothing."""
    tenant = farm.settings.namespace.strip(":")

    def run(
        root, source=(), *, app="app", layers_max=8, remembered=None, image_bytes=100 * MIB, check=None, secrets=None
    ):
        exporter = Exporter(
            registry=farm.registry,
            compression="gzip",
            threads=2,
            media_types="docker",
            image_bytes=image_bytes,
            layer_min_bytes=MIB,
            layers_max=layers_max,
            known=KnownLayers(farm.database),
            remembered=remembered or Recent(),
            scanned=ScannedLayers(farm.database, farm.records.seal),
        )
        artifact = ArtifactSource(repository="sources/x", digest="sha256:" + "0" * 64)
        request = BuildRequest(tenant=tenant, app=app, source=artifact)
        exporter, types = exporter.during(check or go_on), {"web": "true"}
        source_names = {f"app/{name}" for name in source}
        layers = exporter.send_layers(
            BuildFolder(root),
            builder,
            request.repository,
            source_names=source_names,
            process_types=types,
            secrets=secrets or {},
        )
        exported = exporter.write_image(
            layers, builder, request.repository, process_types=types, variables={}, labels={}
        )
        return exported, f"{farm.registry.host}/{request.repository}@{exported.image.digest}"

    return run


def make(root):
    (root / "node_modules/deep").mkdir(parents=True)
    (root / "node_modules/deep/big").write_bytes(os.urandom(2 * MIB))
    (root / "node_modules/link").symlink_to("deep/big")
    (root / "made").write_text("made")
    (root / "source.py").write_text("source")
    (root / "empty").mkdir(mode=0o700)
    (root / "one").write_text("linked")
    (root / "two").hardlink_to(root / "one")
    (root / os.fsdecode(b"\xff\xfe")).write_text("no utf-8")
    (root / ("long" * 30)).mkdir()
    (root / ("long" * 30) / ("name" * 40)).write_text("x")
    return root


def pulled(image):
    """The engine's own view of /app, its owner and times as every file's in an image are."""
    subprocess.run(["docker", "pull", "--quiet", image], check=True, capture_output=True)
    created = subprocess.run(["docker", "create", image], check=True, capture_output=True, text=True).stdout.strip()
    try:
        raw = subprocess.run(["docker", "cp", f"{created}:/app", "-"], check=True, capture_output=True).stdout
    finally:
        subprocess.run(["docker", "rm", created], check=True, capture_output=True)
        subprocess.run(["docker", "rmi", image], check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(raw), errors="surrogateescape") as tar:
        assert all((item.uid, item.mtime) == (1000, 1) for item in tar)
        return {os.fsencode(item.name).partition(b"/")[2]: _described(tar, item) for item in tar}


def as_an_image_keeps_it(root):
    kept = {name: found[:3] if found[0] == "file" else found for name, found in describe(root).items()}
    return {b"": ("folder", root.stat().st_mode & 0o777), **kept}


def _described(tar, item):
    """As `describe` tells it, without which files are links of each other: that ends with a layer."""
    if item.issym():
        return ("link", os.fsencode(item.linkname))
    return ("folder", item.mode & 0o777) if item.isdir() else ("file", item.mode & 0o777, tar.extractfile(item).read())


def test_the_tree_is_the_same_in_one_layer_and_in_many(export, tmp_path):
    root = make(tmp_path / "app")
    many, image = export(root, {"source.py", "one"})
    one, single = export(root, {"source.py", "one"}, app="single", layers_max=1)
    assert [layer.origin for layer in many.layers if layer.origin != "builder"] == ["node_modules", "made", "source"]
    assert [layer.origin for layer in one.layers if layer.origin != "builder"] == ["source"]
    seen = pulled(image)
    assert seen == pulled(single)
    assert seen[b"empty"] == ("folder", 0o700)
    assert seen[b"two"] == ("file", 0o644, b"linked")
    assert seen[b"node_modules/link"] == ("link", b"deep/big")
    assert seen == as_an_image_keeps_it(root)


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=6)
@given(tree=TREES, data=st.data())
def test_the_engine_gives_back_any_tree_whatever_came_in_with_the_source(export, tmp_path_factory, tree, data):
    root = tmp_path_factory.mktemp("tree") / "app"
    plant(tree, root)
    names = [name.removeprefix("app/") for name in tree_names(root)][1:]
    source = data.draw(st.sets(st.sampled_from(names))) if names else set()

    _, image = export(root, source)

    assert pulled(image) == as_an_image_keeps_it(root)


def test_an_export_ends_where_its_check_says_so_and_keeps_nothing(export, farm, tmp_path):
    root = make(tmp_path / "app")

    def cancelled():
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        export(root, check=cancelled)
    assert not farm.registry.has_manifest(f"apps/{farm.settings.namespace.strip(':')}/app", "latest")


def test_a_name_that_means_a_deletion_is_the_apps_fault(export, farm, tmp_path):
    root = make(tmp_path / "app")
    (root / "node_modules/.wh.deep").touch()
    with pytest.raises(CompileError, match=r"app/node_modules/\.wh\.deep"):
        export(root)
    assert not farm.registry.has_manifest(f"apps/{farm.settings.namespace.strip(':')}/app", "latest")


def test_nothing_is_sent_twice_whoever_asks(export, tmp_path):
    root = make(tmp_path / "app")
    first, _ = export(root, {"source.py"})
    assert first.uploaded_bytes > 2 * MIB
    # another node, the same app: known by content; and another app: taken over
    again, _ = export(root, {"source.py"})
    other, _ = export(root, {"source.py"}, app="other")
    assert (again.uploaded_bytes, other.uploaded_bytes) == (0, 0)
    assert again.image.digest == first.image.digest
    assert [layer.digest for layer in other.layers] == [layer.digest for layer in first.layers]


def test_a_tree_left_in_place_is_not_read_again(export, tmp_path):
    root = make(tmp_path / "app")
    remembered = Recent()
    first, _ = export(root, {"source.py"}, remembered=remembered)
    status = (root / "node_modules/deep/big").stat()
    second, _ = export(root, {"source.py"}, remembered=remembered)
    assert second.image.digest == first.image.digest
    (root / "node_modules/deep/big").write_bytes(os.urandom(2 * MIB))
    os.utime(root / "node_modules/deep/big", ns=(status.st_atime_ns, status.st_mtime_ns))
    third, _ = export(root, {"source.py"}, remembered=remembered)
    assert third.image.digest != first.image.digest
    assert [layer.origin for layer in third.layers if not layer.reused] == ["node_modules"]


def test_a_layer_that_the_registry_has_lost_is_sent_again(export, farm, tmp_path):
    root = make(tmp_path / "app")
    first, _ = export(root, {"source.py"})
    lost = next(layer for layer in first.layers if layer.origin == "node_modules")
    repository = f"apps/{farm.settings.namespace.strip(':')}/app"
    farm.registry.delete_blob(repository, lost.digest)
    assert not farm.registry.has_blob(repository, lost.digest)
    second, image = export(root, {"source.py"})
    assert [layer.origin for layer in second.layers if not layer.reused] == ["node_modules"]
    assert second.image.digest == first.image.digest
    assert b"node_modules/deep/big" in pulled(image)


@pytest.mark.parametrize("same_node", [True, False], ids=["remembered", "known by its shape"])
def test_a_known_layer_is_searched_for_a_secret_that_is_new(export, tmp_path, same_node):
    root = make(tmp_path / "app")
    (root / "node_modules/deep/login").write_text("key: a-new-secret")
    nodes = [Recent()] * 3 if same_node else [Recent() for _ in range(3)]
    first, _ = export(root, {"source.py"}, remembered=nodes[0], secrets={"OLD": "an-old-secret"})
    again, _ = export(root, {"source.py"}, remembered=nodes[1], secrets={"OLD": "an-old-secret"})
    assert (again.image.digest, again.uploaded_bytes) == (first.image.digest, 0)
    with pytest.raises(CompileError, match=r"The file '/app/node_modules/deep/login' contains .* config var NEW"):
        export(root, {"source.py"}, remembered=nodes[2], secrets={"OLD": "an-old-secret", "NEW": "a-new-secret"})


def test_a_layer_with_a_secret_never_reaches_the_registry(export, farm, tmp_path):
    root = make(tmp_path / "app")
    export(root, {"source.py"}, app="other")
    (root / "node_modules/deep/login").write_text("a-new-secret")
    with pytest.raises(CompileError):
        export(root, {"source.py"}, secrets={"NEW": "a-new-secret"})
    repository = f"apps/{farm.settings.namespace.strip(':')}"
    unmarked, _ = export(root, {"source.py"}, app="unmarked")
    blob = next(layer.digest for layer in unmarked.layers if layer.origin == "node_modules")
    assert farm.registry.has_blob(f"{repository}/unmarked", blob)
    assert not farm.registry.has_blob(f"{repository}/app", blob)


def test_hard_links_count_once_in_a_layer_and_once_in_each_of_several(export, tmp_path):
    root = tmp_path / "app"
    for folder in ("one", "two"):
        (root / folder).mkdir(parents=True)
    (root / "one/big").write_bytes(os.urandom(2 * MIB))
    (root / "one/link").hardlink_to(root / "one/big")
    export(root, image_bytes=3 * MIB)
    (root / "two/link").hardlink_to(root / "one/big")
    with pytest.raises(TooLargeError, match="has 4,194,304 bytes"):
        export(root, image_bytes=3 * MIB)


def test_an_app_over_the_limit_is_refused_before_anything_is_sent(export, farm, tmp_path):
    root = make(tmp_path / "app")
    with pytest.raises(TooLargeError, match="larger than the limit of 1,048,576"):
        export(root, image_bytes=MIB)
    assert not farm.registry.has_manifest(f"apps/{farm.settings.namespace.strip(':')}/app", "latest")

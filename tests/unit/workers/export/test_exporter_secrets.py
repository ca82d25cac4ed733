"""The exporter searches every layer for secrets, whichever way it comes by it, and reads none for it more than once."""

from __future__ import annotations

import os

import pytest

from buildfarm.errors import CompileError
from buildfarm.model import Layer
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor, Manifest, media_types
from workers.build_folder import BuildFolder
from workers.builder import Builder
from workers.export import exporter as exporter_module
from workers.export import secret_scan
from workers.export.exporter import Exporter
from workers.export.fingerprint import Recent
from workers.export.launch_layers import LaunchLayer, LaunchLayers

VALUE, OTHER = "a-secret-value", "another-value"
CONFIG = Digest.of(b"{}")
REPOSITORY = "apps/t/app"
BUILDER = Builder("b", "builder", CONFIG, Manifest(media_types("oci").manifest, Descriptor("c", CONFIG, 2), ()), b"{}")


class Known(dict):
    """Layers by their shape, of all nodes."""

    put = dict.__setitem__


class Scanned(dict):
    """Values by layer, of all nodes."""

    def missing(self, repository, diff_id, values):
        return [value for value in values if value not in self.get((repository, diff_id), ())]

    def add(self, repository, diff_id, values):
        self.setdefault((repository, diff_id), set()).update(values)


@pytest.fixture
def export(registry, tmp_path):
    """``export(A="value")`` sends the tree's layers with these secrets, on the node whose memory is given."""
    known, scanned, first = Known(), Scanned(), Recent()

    def run(*, node=first, launch=None, compression="gzip", **secrets):
        exporter = Exporter(registry, compression, 2, "oci", 10**8, 10**6, 8, known, node, scanned)
        return exporter.send_layers(
            BuildFolder(tmp_path / "app"), BUILDER, REPOSITORY,
            source_names=frozenset(), process_types={}, secrets=secrets, launch=launch,
        )  # fmt: skip

    return run


@pytest.fixture
def file(tmp_path):
    """A large file with the value, in a layer that is not the source's."""
    path = tmp_path / "app/big/file"
    path.parent.mkdir(parents=True)
    path.write_bytes(os.urandom(1_500_000) + VALUE.encode())
    return path


@pytest.fixture
def reads(monkeypatch):
    """One item for each time that a tree's layer is read without being sent."""
    read, seen = exporter_module.hash_raw, []

    def counted(*args, **kwargs):
        seen.append(kwargs["watch"])
        return read(*args, **kwargs)

    monkeypatch.setattr(exporter_module, "hash_raw", counted)
    return seen


REFUSED = r"The file '/app/big/file' contains the value of the secret config var A,"


def test_a_new_layer_with_a_secret_is_not_sent(export, fake, file):
    with pytest.raises(CompileError, match=REFUSED):
        export(A=VALUE)
    assert max(map(len, fake.repositories.get(REPOSITORY).blobs.values()), default=0) < 1_000_000
    assert fake.uploads == {}


@pytest.mark.kind("secrets")
@pytest.mark.parametrize("same_node", [True, False], ids=["files left in place", "the same content on another node"])
def test_a_known_layer_is_searched_once_for_each_new_value(export, file, reads, record_property, same_node):
    def node():
        return {} if same_node else {"node": Recent()}

    sent = export()
    export(**node(), B=OTHER)
    assert all(watch is not None for watch in reads)
    first = len(reads)
    again = export(**node(), B=OTHER)
    assert all(layer.reused for layer in again.app)
    assert [layer.digest for layer in again.app] == [layer.digest for layer in sent.app]
    assert [watch for watch in reads[first:] if watch is not None] == []  # hashed by another node, and not searched
    assert not same_node or len(reads) == first
    with pytest.raises(CompileError, match=REFUSED) as refused:
        export(**node(), B=OTHER, A=VALUE)
    record_property("seen", f"searched once; with another secret: {refused.value.message}")


def test_what_was_sent_after_a_search_is_not_searched_again(export, file, reads):
    export(B=OTHER)
    export(B=OTHER)
    assert reads == []


def test_a_layer_with_the_value_in_a_name_alone_is_sent(export, file):
    file.with_name(VALUE).write_text("x")
    file.write_bytes(bytes(1_500_000))
    assert export(A=VALUE).app == tuple(layer.model_copy(update={"reused": False}) for layer in export().app)


def test_without_secrets_nothing_is_searched(export, file, monkeypatch):
    monkeypatch.setattr(secret_scan, "Search", None)
    monkeypatch.setattr(Scanned, "missing", None)
    monkeypatch.setattr(Scanned, "add", None)
    export()
    export(node=Recent())
    export(SHORT="1234567")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_launch_layer_of_the_previous_image_is_fetched_and_searched_once(export, fake, file, tmp_path, compression):
    layers = tmp_path / "layers"
    (layers / "bp/tool").mkdir(parents=True)
    (layers / "bp/tool/login").write_bytes(bytes(1_500_000) + VALUE.encode())
    made = LaunchLayers(BuildFolder(layers), (LaunchLayer("bp/tool", "bp:tool"),), ())
    layer = export(launch=made, compression=compression).launch[0]
    reused = LaunchLayers(
        made.root, (LaunchLayer("bp/tool", "bp:tool", Layer(**layer.model_dump() | {"reused": True})),), ()
    )

    def fetched(**secrets):
        before = len(fake.log)
        export(launch=reused, compression=compression, **secrets)
        return sum(f"GET /v2/{REPOSITORY}/blobs/{layer.digest}" in line for line in fake.log[before:])

    assert [fetched(), fetched(B=OTHER), fetched(B=OTHER)] == [0, 1, 0]
    with pytest.raises(CompileError, match=r"The file '/layers/bp/tool/login' contains"):
        fetched(B=OTHER, A=VALUE)

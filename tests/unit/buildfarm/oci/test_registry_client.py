"""The registry client, over a real socket, against a registry that can fail."""

from __future__ import annotations

import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import NodeError, RegistryError, TooLargeError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import Descriptor, Manifest, media_types
from buildfarm.oci.registry import Registry
from buildfarm.oci.retry import UnavailableError, waits
from testkit.registry.fake import FakeRegistry, digest_of

CONFIG = b"{}"
MANIFEST = Manifest(media_types("oci").manifest, Descriptor("config", Digest.of(CONFIG), 2), ())


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def registry(fake, pauses):
    with Registry(f"http://{fake.host}", timeout_seconds=5, attempts=3, pause=pauses.append) as registry:
        yield registry


def cat(path, **options):
    return lambda: LayerStream(["cat", os.fspath(path)], **options)


@pytest.fixture
def content(tmp_path):
    path = tmp_path / "content"
    path.write_bytes(os.urandom(3_000_000))
    return path


def test_a_ping_succeeds(registry):
    registry.ping()


def test_a_blob_is_kept_and_comes_back(registry, fake):
    digest = registry.put_blob("team/app", b"content")

    assert digest == Digest.of(b"content")
    assert registry.has_blob("team/app", digest)
    assert b"".join(registry.get_blob("team/app", digest, limit_bytes=7)) == b"content"
    assert registry.read_blob("team/app", digest) == b"content"
    assert fake.uploads == {}


def test_a_blob_that_is_there_is_not_sent_again(registry, fake):
    registry.put_blob("app", b"content")
    fake.log.clear()

    registry.put_blob("app", b"content")

    assert fake.log == [f"HEAD /v2/app/blobs/{digest_of(b'content')}"]


def test_a_layer_is_sent_while_it_is_made(registry, fake, content):
    layer = registry.upload("app", cat(content))

    kept = fake.repository("app").blobs[layer.digest]
    assert (Digest.of(kept), len(kept)) == (layer.digest, layer.size_bytes)
    assert layer.diff_id == Digest.of(content.read_bytes())
    assert [line.split()[0] for line in fake.log] == ["POST", "PATCH", "PUT"]


def test_a_relative_location_is_followed(registry, fake, content):
    fake.faults += [("POST", "relative"), ("PATCH", "relative")]

    assert registry.has_blob("app", registry.upload("app", cat(content)).digest)


@pytest.mark.parametrize(
    ("fault", "reason"), [("elsewhere", "to another host"), ("nowhere", "without naming its address")]
)
def test_a_location_on_another_host_is_refused(registry, fake, content, fault, reason):
    fake.faults.append(("POST", fault))

    with pytest.raises(RegistryError, match=reason):
        registry.upload("app", cat(content))

    assert len(fake.log) == 1


@pytest.mark.parametrize(
    "faults",
    [
        [("PATCH", "drop")],
        [("PATCH", 503)],
        [("PUT", "drop")],
        [("PUT", 500)],
        [("POST", 503)],
        [("POST", "drop")],
        [("PATCH", 429)],
        [("PATCH", "drop"), ("PUT", 502)],
    ],
)
def test_a_layer_is_made_again_when_sending_fails(registry, fake, content, pauses, faults):
    fake.faults += faults
    made = []

    def make():
        made.append(1)
        return cat(content)()

    layer = registry.upload("app", make)

    assert fake.repository("app").blobs.keys() == {layer.digest}
    assert len(pauses) == len(faults)
    assert fake.uploads == {}
    assert len(made) == 1 + len(faults)


@pytest.mark.parametrize("faults", [[("PATCH", "drop")] * 3, [("PATCH", 503)] * 3])
def test_attempts_have_an_end(registry, fake, content, pauses, faults):
    fake.faults += faults

    with pytest.raises(UnavailableError) as caught:
        registry.upload("app", cat(content))

    assert fake.host in caught.value.message
    assert len(pauses) == 2
    assert pauses[1] > pauses[0]
    assert fake.uploads == {}


def test_a_layer_that_cannot_be_made_ends_the_upload(registry, fake, content, pauses):
    large = content.with_name("large")
    large.write_bytes(bytes(40_000_000))
    with pytest.raises(TooLargeError):
        registry.upload("app", cat(large, limit_bytes=39_000_000))
    with pytest.raises(NodeError):
        registry.upload("app", cat(content.parent / "gone"))

    assert pauses == []
    assert fake.uploads == {}
    assert [line.split()[0] for line in fake.log if "DELETE" in line] == ["DELETE", "DELETE"]


def test_a_registry_that_keeps_other_content_is_found_out(registry, fake, content):
    fake.faults += [("PUT", "other-digest")]
    with pytest.raises(RegistryError, match="but stored sha256:"):
        registry.upload("app", cat(content))

    registry.put_blob("app", CONFIG)
    fake.faults += [("PUT", "other-digest")]
    with pytest.raises(RegistryError, match="but stored sha256:"):
        registry.put_manifest("app", MANIFEST.encode(), MANIFEST.media_type, tag=None)


def test_a_redirect_without_an_address_is_named(registry, fake, pauses):
    digest = registry.put_blob("app", b"content")
    fake.faults += [("GET", 307)]
    with pytest.raises(RegistryError, match=r"redirects GET /v2/app/blobs/sha256:\w+ \(307\)") as told:
        registry.read_blob("app", digest)
    assert "final address" in told.value.advice
    assert pauses == []


def test_a_mount_takes_a_blob_over(registry, fake):
    digest = registry.put_blob("base", b"layer")

    assert registry.mount("app", digest, "base")
    assert registry.has_blob("app", digest)


def test_a_mount_that_opens_an_upload_cancels_it(registry, fake):
    digest = registry.put_blob("base", b"layer")
    fake.faults.append(("POST", "no-mount"))

    assert not registry.mount("app", digest, "base")
    assert not registry.has_blob("app", digest)
    assert fake.uploads == {}


@pytest.mark.parametrize("tag", [None, "v1"])
def test_a_manifest_is_kept_under_its_digest_and_tag(registry, tag):
    registry.put_blob("app", CONFIG)

    digest = registry.put_manifest("app", MANIFEST.encode(), MANIFEST.media_type, tag=tag)

    assert digest == Digest.of(MANIFEST.encode())
    for name in {digest, tag or digest}:
        assert registry.has_manifest("app", name)
        assert registry.get_manifest("app", name) == (MANIFEST.media_type, MANIFEST.encode(), digest)
    assert not registry.has_manifest("app", "v2")


def test_a_deleted_manifest_is_gone(registry):
    registry.put_blob("app", CONFIG)
    digest = registry.put_manifest("app", MANIFEST.encode(), MANIFEST.media_type, tag="v1")

    registry.delete_manifest("app", digest)

    assert not registry.has_manifest("app", "v1")
    with pytest.raises(NotInRegistryError, match="MANIFEST_UNKNOWN"):
        registry.delete_manifest("app", digest)


def test_a_refusal_names_what_the_registry_said_and_is_not_repeated(registry, fake, pauses):
    with pytest.raises(RegistryError, match=r"400 to PUT .*: MANIFEST_BLOB_UNKNOWN, the fake registry says no"):
        registry.put_manifest("app", MANIFEST.encode(), MANIFEST.media_type, tag="v1")

    assert pauses == []


def test_what_is_not_there_has_its_own_error(registry):
    with pytest.raises(NotInRegistryError, match="BLOB_UNKNOWN"):
        registry.read_blob("app", Digest.of(b"gone"))
    with pytest.raises(NotInRegistryError, match="MANIFEST_UNKNOWN"):
        registry.get_manifest("app", "gone")


def test_content_that_changed_on_the_way_is_found_out(registry, fake):
    digest = registry.put_blob("app", CONFIG)
    manifest = registry.put_manifest("app", MANIFEST.encode(), MANIFEST.media_type, tag="v1")

    for name in (manifest, "v1"):
        fake.faults.append(("GET", "other-content"))
        with pytest.raises(RegistryError, match="but returned sha256:"):
            registry.get_manifest("app", name)
    fake.faults.append(("GET", "other-content"))
    with pytest.raises(RegistryError, match="but returned sha256:"):
        registry.read_blob("app", digest)


def test_a_blob_over_its_limit_is_not_read_on(registry):
    digest = registry.put_blob("app", b"content")

    with pytest.raises(RegistryError, match="is over 6 bytes"):
        registry.read_blob("app", digest, limit_bytes=6)


@pytest.mark.parametrize("fault", ["drop", "cut", 503])
def test_a_small_blob_is_read_again_when_reading_fails(registry, fake, pauses, fault):
    digest = registry.put_blob("app", b"content")
    fake.faults.append(("GET", fault))

    assert registry.read_blob("app", digest) == b"content"
    assert len(pauses) == 1


def test_a_registry_that_is_not_there_is_named(pauses):
    with FakeRegistry() as gone:
        url = f"http://user:secret@{gone.host}"
    with (
        Registry(url, attempts=4, pause=pauses.append) as registry,
        pytest.raises(UnavailableError) as caught,
    ):
        registry.ping()

    assert caught.value.message.startswith(f"The registry {gone.host} cannot be reached (ConnectError")
    assert "secret" not in str(caught.value)
    assert len(pauses) == 3


def test_a_silent_registry_runs_into_the_timeout(fake, pauses):
    fake.faults.append(("GET", "stall"))

    with (
        Registry(f"http://{fake.host}", timeout_seconds=0.05, attempts=1, pause=pauses.append) as registry,
        pytest.raises(UnavailableError, match="ReadTimeout"),
    ):
        registry.ping()


def test_credentials_are_sent_and_never_shown():
    with FakeRegistry(credentials="user:p@ss") as fake:
        with Registry(f"http://user:p%40ss@{fake.host}") as registry:
            registry.ping()
            assert registry.host == fake.host
            assert registry.put_blob("app", b"1") == Digest.of(b"1")
        with (
            Registry(f"http://user:wrong@{fake.host}") as registry,
            pytest.raises(RegistryError, match="UNAUTHORIZED") as caught,
        ):
            registry.ping()

    assert "wrong" not in str(caught.value)
    assert "user and password" in caught.value.advice


@pytest.mark.parametrize(
    "url", ["", "farm.test:5000", "ftp://farm.test", "http://", "http://u:secret@farm.test/path", "http://a:b"]
)
def test_an_address_that_is_none_is_refused_without_showing_it(url):
    with pytest.raises(ValueError, match="the registry's address") as caught:
        Registry(url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["..", "a/../b", "a?b", ""])
def test_no_name_escapes_its_path(registry, fake, name):
    digest = Digest.of(b"")
    for call in (
        lambda: registry.has_blob(name, digest),
        lambda: registry.mount("app", digest, name),
        lambda: registry.put_blob(name, b""),
        lambda: registry.get_manifest(name, "v1"),
        lambda: registry.get_manifest("app", name),
    ):
        with pytest.raises(ValueError, match="is not a"):
            call()
    assert fake.log == []


def test_many_threads_share_a_registry(registry, fake, content):
    with ThreadPoolExecutor(4) as threads:
        layers = list(threads.map(lambda name: registry.upload(name, cat(content)), ["a", "b", "c", "d"]))

    assert len(set(layers)) == 1
    assert all(registry.has_blob(name, layers[0].digest) for name in "abcd")
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("layer-")] == []


@given(st.integers(0, 2000), st.floats(0, 1))
def test_waits_grow_up_to_a_bound(count, chance):
    found = list(itertools.islice(waits(chance=lambda: chance), count))

    assert len(found) == count
    assert found == sorted(found)
    assert all(0.1 <= wait_seconds <= 10 for wait_seconds in found)

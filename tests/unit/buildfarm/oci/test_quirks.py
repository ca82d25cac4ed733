"""What the farm uses of a registry, on registries that each differ in one way."""

from __future__ import annotations

import gzip
import os
import time
from email.utils import formatdate

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import RegistryError
from buildfarm.oci.connection import Connection, NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.http.elsewhere import next_request
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import Descriptor, Manifest, media_types
from buildfarm.oci.registry import Registry
from buildfarm.oci.retry import UnavailableError, retry, retry_after_seconds
from testkit.registry.quirks import Quirks, QuirkyRegistry

CONFIG = b"{}"
QUIRKS = {
    "none": Quirks(),
    "redirects": Quirks(redirects=True),
    "no mounts": Quirks(no_mounts=True),
    "no deletes": Quirks(no_deletes=True),
    "relative Location": Quirks(relative=True),
    "429": Quirks(busy_status=429),
    "503": Quirks(busy_status=503),
    "tokens for two requests": Quirks(token_requests=2),
    "tokens for five requests": Quirks(token_requests=5),
    "all": Quirks(redirects=True, no_mounts=True, no_deletes=True, relative=True, busy_status=429, token_requests=3),
}


@pytest.fixture
def pauses():
    return []


def opened(fake, pauses, **options):
    return Registry(f"http://farm:right@{fake.host}", timeout_seconds=5, attempts=5, pause=pauses.append, **options)


@pytest.mark.parametrize("quirks", QUIRKS.values(), ids=QUIRKS)
def test_all_that_the_farm_does_with_a_registry_succeeds(quirks, pauses, tmp_path):
    path = tmp_path / "content"
    path.write_bytes(os.urandom(4_000_000))  # more than is sent in one piece
    with QuirkyRegistry(quirks) as fake, opened(fake, pauses) as registry:
        registry.ping()
        config = registry.put_blob("app", CONFIG)
        made = registry.upload("app", lambda: LayerStream(["cat", os.fspath(path)]))
        layers = (Descriptor("layer", made.digest, made.size_bytes),)
        manifest = Manifest(media_types("oci").manifest, Descriptor("config", config, len(CONFIG)), layers)
        image = registry.put_manifest("app", manifest.encode(), manifest.media_type, tag="latest")
        assert registry.get_manifest("app", "latest")[2] == image
        assert (registry.has_blob("app", made.digest), registry.has_manifest("app", image)) == (True, True)
        read = b"".join(registry.get_blob("app", made.digest, limit_bytes=10**7))
        assert gzip.decompress(read) == path.read_bytes()
        assert registry.read_part("app", made.digest, 5, 10) == read[5:15]
        assert registry.mount("other", made.digest, "app") is not quirks.no_mounts
        assert list(registry.tags("app")) == ["latest"]
        assert set(registry.repositories()) >= {"app", "other"}
        assert not registry.has_blob("app", Digest.of(b"never sent"))
        if quirks.no_deletes:
            with pytest.raises(RegistryError, match="405 to DELETE") as told:
                registry.delete_manifest("app", image)
            assert "allow" in told.value.advice
        else:
            registry.delete_manifest("app", image)
            assert not registry.has_manifest("app", image)
    assert quirks.busy_status or fake.uploads == {}  # a registry that is busy ends sessions itself
    assert bool(fake.storage.headers) == quirks.redirects
    assert set(pauses) == ({7.0} if quirks.busy_status else set()) or quirks.token_requests


def test_the_storage_behind_a_registry_gets_no_credentials(pauses):
    with QuirkyRegistry(Quirks(redirects=True, token_requests=9)) as fake, opened(fake, pauses) as registry:
        registry.read_blob("app", registry.put_blob("app", b"content"))
    assert fake.storage.headers
    for headers in fake.storage.headers:
        assert {name.lower() for name in headers} <= {"host", "accept-encoding", "range"}


def test_other_content_from_the_storage_is_refused(pauses):
    with QuirkyRegistry(Quirks(redirects=True)) as fake, opened(fake, pauses) as registry:
        digest = registry.put_blob("app", b"content")
        fake.storage.server.faults += [("GET", "other-content")]
        with pytest.raises(RegistryError, match="was asked for"):
            registry.read_blob("app", digest)


def test_a_storage_that_refuses_is_named_without_its_signature_and_asked_again(pauses):
    with QuirkyRegistry(Quirks(redirects=True)) as fake, opened(fake, pauses) as registry:
        digest = registry.put_blob("app", b"content")
        fake.storage.server.faults += [("GET", 403)]
        assert registry.read_blob("app", digest) == b"content"
        assert len(pauses) == 1
        fake.storage.server.faults += [("GET", 403)] * 5
        with pytest.raises(UnavailableError, match="The storage localhost behind the registry") as told:
            registry.read_blob("app", digest)
    assert "secret" not in str(told.value)


def test_a_manifest_and_an_upload_are_not_sent_elsewhere(pauses):
    with QuirkyRegistry(Quirks()) as fake, opened(fake, pauses) as registry:
        for method, call in (
            ("GET", lambda: registry.get_manifest("app", "latest")),
            ("POST", lambda: registry.put_blob("app", CONFIG, look=False)),
        ):
            fake.faults += [(method, 307)]
            with pytest.raises(RegistryError, match="redirects of blobs that it reads, and no others"):
                call()


def test_a_blob_that_the_storage_does_not_have_is_not_in_the_registry(pauses):
    with QuirkyRegistry(Quirks(redirects=True)) as fake, opened(fake, pauses) as registry:
        digest = registry.put_blob("app", b"content", look=False)
        fake.storage.server.faults += [("GET", 404)]
        with pytest.raises(NotInRegistryError):
            registry.read_blob("app", digest)


def test_what_a_registry_asks_to_wait_is_bounded_as_a_whole():
    waited = []

    def refuse():
        raise UnavailableError("busy", wait_seconds=60)

    with pytest.raises(UnavailableError):
        retry(refuse, attempts=5, pause=waited.append)
    assert len(waited) <= 1


def test_a_redirect_to_nowhere_ends(pauses):
    with QuirkyRegistry(Quirks(redirects=True)) as fake, opened(fake, pauses) as registry:
        digest = registry.put_blob("app", b"content", look=False)
        fake.storage.server.faults += [("GET", 307)] * 5
        with pytest.raises(UnavailableError, match="answers 307"):
            registry.read_blob("app", digest)


@pytest.mark.parametrize(
    ("location", "told"),
    [("http://storage/x", "without TLS"), ("ftp://storage/x", "without TLS"), ("https://a:b/", "valid")],
)
def test_a_redirect_that_leaves_tls_or_is_malformed_is_refused(location, told):
    asked = httpx.Request("GET", "https://registry/v2/app/blobs/sha256:0")
    with pytest.raises(RegistryError, match=told):
        next_request(httpx.Response(307, headers={"Location": location}, request=asked))


@pytest.mark.parametrize(
    ("location", "goes_to"),
    [
        ("http://registry/v2/x?s=1", "https://registry:5000/v2/x?s=1"),
        ("http://registry:80/v2/x", "https://registry:5000/v2/x"),
        ("/v2/x", "https://registry:5000/v2/x"),
        ("http://other/v2/x", ""),
        ("https://registry:6000/v2/x", ""),
    ],
)
def test_an_upload_goes_on_over_tls_if_the_registry_names_its_address_without(location, goes_to):
    connection = Connection("https://registry:5000", timeout_seconds=1)
    response = httpx.Response(202, request=httpx.Request("POST", "https://registry:5000/v2/app/blobs/uploads/"))
    if goes_to:
        assert connection.same_host(response, location) == goes_to
    else:
        with pytest.raises(RegistryError, match="another host"):
            connection.same_host(response, location)
    connection.close()


@given(st.one_of(st.none(), st.text(), st.integers().map(str), st.floats().map(str)))
def test_whatever_a_retry_after_says_the_wait_is_bounded(header):
    assert 0 <= retry_after_seconds(header) <= 60


def test_a_retry_after_is_seconds_or_a_date():
    assert retry_after_seconds("9") == 9
    assert 25 < retry_after_seconds(formatdate(time.time() + 30, usegmt=True)) <= 30

"""What a repository says about its Git LFS files: their pointers, and the server that it names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.fetch.inside.lfs.address import covers, server_of
from workers.fetch.inside.lfs.pointer import BYTES_MAX, Pointer, parse
from workers.fetch.inside.refused import RefusedError

VERSION = b"version https://git-lfs.github.com/spec/v1\n"
OID = "4d7a" * 16
TEXT = VERSION + f"oid sha256:{OID}\nsize 12345\n".encode()
JOB = {"url": "https://h.org/a/b.git", "kind": "token", "address": "h.org/a", "value": "canary-8d1f", "user": "me"}
SSH = {**JOB, "url": "ssh://git@h.org:2222/a/b.git", "kind": "ssh-key", "address": "h.org:2222/a"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (TEXT, Pointer(OID, 12345)),
        (TEXT.rstrip(), Pointer(OID, 12345)),
        (TEXT.replace(b"\n", b"\r\n"), Pointer(OID, 12345)),
        (b"", None),
        (TEXT[1:], None),
        (TEXT + b"more\n", None),
        (TEXT.replace(b"sha256", b"md5"), None),
        (TEXT.replace(b"4d7a4d7a", b"../../.."), None),
        (TEXT.replace(b"12345", b"-1"), None),
        (TEXT.replace(b"12345", b"9" * 19), None),
        (TEXT.replace(b"spec/v1", b"spec/v2"), None),
        (TEXT.replace(b"git-lfs.github", b"hawser.github"), Pointer(OID, 12345)),
        (TEXT.replace(b"https://git-lfs.github.com/spec/v1", b"http://git-media.io/v/2"), Pointer(OID, 12345)),
        (TEXT + b" " * BYTES_MAX, None),
    ],
)
def test_a_pointer_is_read_as_the_specification_writes_it(text, found):
    assert parse(text) == found


def test_a_pointer_with_an_extension_is_refused():
    text = TEXT.replace(VERSION, VERSION + f"ext-0-crypt sha256:{OID}\n".encode())
    with pytest.raises(ValueError, match="extension"):
        parse(text)


@given(st.from_regex(r"[0-9a-f]{64}", fullmatch=True), st.integers(0, 10**18 - 1))
def test_every_pointer_is_read_back(oid, size):
    assert parse(VERSION + f"oid sha256:{oid}\nsize {size}\n".encode()) == Pointer(oid, size)


@given(st.binary(max_size=BYTES_MAX + 1) | st.binary(max_size=200).map(lambda rest: VERSION + rest))
def test_no_text_breaks_the_reading(text):
    try:
        found = parse(text)
    except ValueError:
        return
    assert found is None or len(found.oid) == 64


@pytest.mark.parametrize(
    ("job", "named", "server"),
    [
        (JOB, "", "https://h.org/a/b.git/info/lfs"),
        ({**JOB, "url": "https://h.org/a/b/"}, "", "https://h.org/a/b.git/info/lfs"),
        ({**JOB, "url": "git://h.org/a/b", "kind": ""}, "", "https://h.org/a/b.git/info/lfs"),
        ({**JOB, "url": "http://h.org:80/a/b", "kind": ""}, "", "http://h.org:80/a/b.git/info/lfs"),
        (SSH, "", "ssh://git@h.org:2222/a/b.git"),
        (JOB, "https://h.org/a/lfs/", "https://h.org/a/lfs"),
        (JOB, "https://H.org:443/a/lfs", "https://H.org:443/a/lfs"),
        (SSH, "ssh://git@h.org:2222/a/lfs", "ssh://git@h.org:2222/a/lfs"),
        ({**JOB, "kind": ""}, "https://h.org/x", "https://h.org/x"),
    ],
)
def test_the_server_is_that_of_the_repositorys_own_host(job, named, server):
    assert server_of(job, named) == server


@pytest.mark.parametrize(
    ("job", "named", "told"),
    [
        (JOB, "https://evil.org/a/lfs", "https://evil.org/a/lfs"),
        (JOB, "https://h.org.evil.org/a", "https://h.org.evil.org/a"),
        (JOB, "https://h.org:8443/a", "https://h.org:8443/a"),
        (JOB, "https://h.org@evil.org/a", "https://evil.org/a"),
        (JOB, "https://me:secret@h.org/a", "https://h.org/a"),
        (JOB, "http://h.org/a", "http://h.org/a"),
        (JOB, "ssh://git@h.org/a", "ssh://h.org/a"),
        (JOB, "https://h.org/other", "https://h.org/other"),
        (JOB, "https://h.org/a/../other", "https://h.org/a/../other"),
        (JOB, "https://h.org/a/%2e%2e/other", "https://h.org/a/%2e%2e/other"),
        (JOB, "https://h.org:0/a", "https://h.org:0/a"),
        (JOB, "file:///etc", "file:///etc"),
        (JOB, "https://h.org/a\n-----> forged", "https://h.org/a?-----> forged"),
        (JOB, "https://[", "https://["),
        (SSH, "https://h.org/a", "https://h.org/a"),
        (SSH, "ssh://git@h.org/a", "ssh://h.org/a"),
        (SSH, "ssh://git@h.org:2222/other", "ssh://h.org:2222/other"),
        ({**JOB, "kind": ""}, "https://evil.org/a", "https://evil.org/a"),
        (JOB, "https://h.org/a/forks?name=x", "https://h.org/a/forks"),
        (JOB, "https://h.org/a/forks#", "https://h.org/a/forks"),
        (JOB, "https://h.org/a/%3fx", "https://h.org/a/%3fx"),
        (JOB, "https://h.org/a\\x", "https://h.org/a\\x"),
        (SSH, "ssh://git@h.org:2222/a/x?y", "ssh://h.org:2222/a/x"),
        (SSH, "ssh://git@h.org:2222/a/x#", "ssh://h.org:2222/a/x"),
        ({**JOB, "kind": ""}, "https://h.org/x?", "https://h.org/x"),
        ({**JOB, "kind": ""}, "https://h.org/x#y", "https://h.org/x"),
    ],
)
def test_another_server_is_refused_by_its_name(job, named, told):
    with pytest.raises(RefusedError, match="lfs-host") as error:
        server_of(job, named)
    assert error.value.about == told


@given(st.from_regex(r"(https?|ssh)://[a-z@:.%/\\?#h]{0,20}", fullmatch=True))
def test_a_login_goes_to_its_host_and_path_alone(url):
    for job in (JOB, SSH):
        if covers(job, url):
            assert url.startswith(("https://h.org/a", "https://h.org:443/a", "ssh://")), url
            assert ".." not in url.partition("?")[0]
    assert not covers({**JOB, "kind": ""}, url)


@pytest.mark.parametrize(
    ("address", "url", "is_covered"),
    [
        ("h.org/a/b", "https://h.org/a/b.git/info/lfs/objects/batch", True),
        ("h.org/a/b", "https://h.org/a/b/info/lfs", True),
        ("h.org/a/b", "https://h.org/a/bc.git/info/lfs", False),
        ("h.org", "https://h.org/a/b.git/info/lfs", True),
        ("h.org", "https://h.org.evil.org/", False),
        ("h.org:8443", "https://h.org:8443/x", True),
        ("h.org:8443", "https://h.org/x", False),
        ("h.org", "http://h.org/a", False),
        ("h.org", "https://h.org:0/a", False),
        ("h.org", "https://[h.org].evil.org/a", False),
        ("h.org", "https://h.org/a/forks?name=x#/objects/batch", False),
        ("h.org", "https://h.org/a#/objects/batch", False),
    ],
)
def test_a_login_is_for_addresses_at_and_below_the_credentials(address, url, is_covered):
    assert covers({**JOB, "address": address}, url) is is_covered

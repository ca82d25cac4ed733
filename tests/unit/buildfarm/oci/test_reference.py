"""Names of repositories and tags: the grammar of the distribution-spec."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.oci.connection import Connection
from buildfarm.oci.connection import host_of as connection_host_of
from buildfarm.oci.reference import check_repository, check_tag, host_of

component = st.from_regex(r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}", fullmatch=True)
repositories = st.lists(component, min_size=1, max_size=4).map("/".join)


@given(repositories)
def test_a_repository_of_the_grammar_is_taken(name):
    assert check_repository(name) == name


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True))
def test_a_tag_of_the_grammar_is_taken(name):
    assert check_tag(name) == name


@pytest.mark.parametrize("name", ["", "App", "a//b", "../b", "a___b", "a\n", "a" * 256, "a:1", "/a"])
def test_a_broken_repository_is_refused(name):
    with pytest.raises(ValueError, match="is not a repository name"):
        check_repository(name)


@pytest.mark.parametrize("name", ["", "-v", ".v", "v" * 129, "a/b", "sha256:12"])
def test_a_broken_tag_is_refused(name):
    with pytest.raises(ValueError, match="is not a tag"):
        check_tag(name)


def test_a_long_hostile_name_is_refused_at_once():
    with pytest.raises(ValueError, match="is not a repository name"):
        check_repository("a-" * 100_000)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:5000",
        "https://Registry.Test",
        "https://user:p%40ss@registry.test:5000/",
        "http://registry.test:80",
        "https://registry.test:443",
        "https://registry.test:80",
        "http://[::1]:5000",
        "https://bücher.test:5000",
        "http://registry.bücher:5000",
        "https://straße.test",
        "http://host:/",
        "http://h:0080",
        "https://h:0443/",
        "http://h:00",
        "http://h:99999",
        "HTTP://h:80",
        "https://[::1]:443",
        "https://u:p@[::1]",
        "http://255.0.10.199:80",
        "http://h_1:5000",
        "http://a.1b:5000",
        "http://a%41:5000",
        "http://h.:5000",
        "http://-h-:5000",
        "http://xn--bcher-kva.test:5000",
        "http://u@v@h:5000",
        "http://[u:p]@h:5000",
    ],
)
def test_a_host_is_the_one_that_a_connection_has(url):
    connection = Connection(url, timeout_seconds=1)
    connection.close()
    assert host_of(url) == connection.host


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:5000", "http://h:80:80", "", "http://", "ftp://h", "http://h/path", "http://h?query", "http://h:x",
        "http://300.1.1.1", "http://01.1.1.1", "http://[::z]", "http://[::1", "http://h:5000\n", "//h:5000",
    ],
)  # fmt: skip
def test_an_address_that_a_connection_refuses_has_no_host(url):
    with pytest.raises(ValueError, match="the registry's address"):
        Connection(url, timeout_seconds=1)
    with pytest.raises(ValueError, match="the registry's address"):
        host_of(url)


@given(st.from_regex(r"https?://([a-z:]{0,3}@)?[a-zA-Z0-9.:-]{0,12}/?", fullmatch=True))
def test_a_host_is_that_of_a_connection_or_neither_has_one(url):
    try:
        expected = connection_host_of(url)
    except ValueError:
        expected = None
    try:
        found = host_of(url)
    except ValueError:
        found = None
    assert found == expected

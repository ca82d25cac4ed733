"""Names of repositories and tags: the grammar of the distribution-spec."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.oci.reference import check_repository, check_tag

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

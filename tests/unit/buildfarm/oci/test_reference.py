"""Image references: the grammar of the distribution-spec, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.oci.digest import Digest
from buildfarm.oci.reference import Reference, check_repository

component = st.from_regex(r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}", fullmatch=True)
references = st.builds(
    Reference,
    registry=st.from_regex(r"[a-z0-9]{1,8}(\.[a-z0-9]{1,8}){0,2}(:[0-9]{1,5})?", fullmatch=True),
    repository=st.lists(component, min_size=1, max_size=4).map("/".join),
    tag=st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True),
    digest=st.none() | st.binary(max_size=8).map(Digest.of),
)


@given(references)
def test_parsing_undoes_printing(reference):
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("farm.test/app", Reference("farm.test", "app")),
        ("farm.test:5000/team/app:v1.2", Reference("farm.test:5000", "team/app", "v1.2")),
        ("[::1]:5000/app", Reference("[::1]:5000", "app")),
        (f"localhost/app@{Digest.of(b'')}", Reference("localhost", "app", None, Digest.of(b""))),
    ],
)
def test_a_reference_is_read(text, expected):
    assert Reference.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("app", "is not an image reference"),
        ("", "is not an image reference"),
        ("farm.test/", "is not a repository name"),
        ("farm.test/App", "is not a repository name"),
        ("farm.test/a//b", "is not a repository name"),
        ("farm.test/../b", "is not a repository name"),
        ("farm.test/a___b", "is not a repository name"),
        ("farm.test/a\n", "is not a repository name"),
        ("farm.test/" + "a" * 256, "is not a repository name"),
        ("farm.test/app:", "is not a tag"),
        ("farm.test/app:-v", "is not a tag"),
        ("farm.test/app:" + "v" * 129, "is not a tag"),
        ("farm.test/app@sha256:12", "is not a digest"),
        ("user:word@farm.test/app", "is not a registry"),
        ("/app", "is not a registry"),
    ],
)
def test_a_broken_reference_is_refused_with_a_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        Reference.parse(text)


def test_a_long_hostile_name_is_refused_at_once():
    with pytest.raises(ValueError, match="is not a repository name"):
        check_repository("a-" * 100_000)

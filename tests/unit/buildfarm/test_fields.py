"""Refs are what git's own check accepts."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buildfarm.fields import REF_BYTES_MAX, check_ref
from buildfarm.sources.address import GitSource

# Parts that git's rules are about, beside any other character.
PARTS = st.sampled_from([*"a/.@{+#-~^:?*[\\ \x7f\né", "..", "@{", ".lock", "refs/heads/", "HEAD"])
REFS = st.lists(PARTS | st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6).map("".join)


def accepted(ref: str) -> bool:
    try:
        return check_ref(ref) == ref
    except ValueError:
        return False


@settings(max_examples=200, deadline=None)
@given(REFS)
@example("@")
@example("refs/heads/@")
@example("refs/heads/-x")
@example("x.lock/y")
@example("a.lockb/.b")
def test_exactly_the_refs_of_git_check_ref_format_are_accepted(ref: str) -> None:
    done = subprocess.run(["git", "check-ref-format", "--allow-onelevel", ref], capture_output=True, check=False)
    assert accepted(ref) == (done.returncode == 0)


@pytest.mark.parametrize("ref", ["\0", "a\0b", "\ud800", "a" * (REF_BYTES_MAX + 1), "é" * REF_BYTES_MAX])
def test_what_no_argument_can_hold_is_not_a_ref(ref: str) -> None:
    assert not accepted(ref)


@pytest.mark.parametrize(
    ("fields", "ref"),
    [
        ({}, "HEAD"),
        ({"ref": "zoe/fix#12"}, "zoe/fix#12"),
        ({"url": "https://h/x.git#zoe/fix#12"}, "zoe/fix#12"),
        ({"url": "https://h/x.git#"}, "HEAD"),
        ({"url": "https://h/x.git#main", "ref": "main"}, "main"),
        ({"url": "https://h/x.git#a@b+c%23"}, "a@b+c%23"),
    ],
    ids=["none", "field", "address", "empty", "both", "signs"],
)
@pytest.mark.kind("refs")
def test_the_first_number_sign_of_a_sources_address_ends_it(fields, ref, record_property) -> None:
    source = GitSource(**{"url": "https://h/x.git", **fields})
    record_property("seen", f"{source.url} at {source.ref}")
    assert (source.url, source.ref) == ("https://h/x.git", ref)


def test_a_source_with_two_different_refs_is_refused() -> None:
    with pytest.raises(ValueError, match="named twice"):
        GitSource(url="https://h/x.git#main", ref="other")

"""Config vars at rest: opened by who has the key, for the build they belong to, and by nobody else."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import NodeError, RequestError, SettingsError
from buildfarm.seal import Seal

KEY, OTHER = secrets.token_urlsafe(32), secrets.token_urlsafe(32)


@given(st.dictionaries(st.text(min_size=1), st.text(), min_size=1))
def test_what_is_closed_is_opened_again_and_shows_nothing(env):
    sealed = Seal(KEY).close("b1", env)
    assert Seal(KEY).open("b1", sealed) == env
    assert not any(value in sealed for value in env.values() if len(value) > 4)


def test_a_new_key_in_front_opens_what_the_old_one_closed():
    sealed = Seal(OTHER).close("b1", {"A": "x"})
    assert Seal(f"{KEY},{OTHER}").open("b1", sealed) == {"A": "x"}
    assert Seal(f"{KEY},{OTHER}").close("b1", {}) == ""


@pytest.mark.parametrize("keys", [OTHER, ""], ids=["another", "none"])
def test_another_key_or_none_opens_nothing(keys):
    with pytest.raises(NodeError, match="cannot be"):
        Seal(keys).open("b1", Seal(KEY).close("b1", {"A": "x"}))


def test_another_builds_config_vars_are_not_taken():
    with pytest.raises(NodeError, match="another build"):
        Seal(KEY).open("b2", Seal(KEY).close("b1", {"A": "x"}))


def test_without_a_key_no_config_vars_are_taken():
    with pytest.raises(RequestError, match="no key"):
        Seal("").close("b1", {"A": "x"})


def test_what_is_no_key_is_told():
    with pytest.raises(SettingsError, match="BUILDFARM_FARM_KEY"):
        Seal("secret").check()


def test_a_digest_of_before_a_new_key_is_still_the_contents():
    before = Seal(OTHER).digest(b"x")
    rotated = Seal(f"{KEY}, {OTHER}")
    assert rotated.made(before, b"x")
    assert not rotated.made(before, b"y")
    assert rotated.digest(b"x") == Seal(KEY).digest(b"x")
    assert rotated.made(rotated.digest(b"x"), b"x")
    assert not Seal(KEY).made(before, b"x")
    assert Seal("").made(Seal("").digest(b"x"), b"x")


def test_equal_contents_are_told_only_with_the_same_key():
    assert Seal(KEY).digest(b"x") == Seal(KEY).digest(b"x") != Seal(OTHER).digest(b"x")

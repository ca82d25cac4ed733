"""Build variables: what wins, what becomes a file, what is hidden, and what cannot be set."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.config_vars.build_variables import FILES, BuildVariable, BuildVariables, VariableView
from buildfarm.config_vars.variable_rules import check_variables
from buildfarm.errors import RequestError
from buildfarm.input_digest import input_digest
from buildfarm.model import BuildRequest
from buildfarm.settings import Settings
from buildfarm.sources.address import ArtifactSource
from workers.attempt.mask import Mask

NAMES = st.sampled_from(["HTTP_PROXY", "http_proxy", "NO_PROXY", "PIP_INDEX_URL", "CA_CERTIFICATES"])
SCOPES = st.dictionaries(NAMES, st.text(max_size=3))
REQUEST = BuildRequest(
    tenant="t", app="a", source=ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64), env={"OWN": "1"}
)


def scope(values):
    return {name: BuildVariable(value=value) for name, value in values.items()}


def merged(*scopes):
    return BuildVariables.merged(*map(scope, scopes))


@given(SCOPES, SCOPES, SCOPES, SCOPES)
def test_an_apps_value_wins_over_its_tenants_over_the_farms_and_the_builds_own_over_all(farm, tenant, app, own):
    found = merged(farm, tenant, app).beside(own).environment
    for name in {*farm, *tenant, *app} - {"CA_CERTIFICATES"}:
        upper = name.upper() if name.lower() == name else name
        both = [upper, upper.lower()] if upper.endswith("_PROXY") else [name]
        winner = next(each for each in (own, app, tenant, farm) if any(one in each for one in both))
        assert found[name] == winner.get(name, winner.get(name.swapcase()))


def test_a_proxy_is_there_under_both_of_its_names():
    found = merged({"HTTPS_PROXY": "http://farm:1"}, {"https_proxy": "http://app:1", "NO_PROXY": "localhost"})
    assert found.environment == {
        "HTTPS_PROXY": "http://app:1", "https_proxy": "http://app:1", "NO_PROXY": "localhost", "no_proxy": "localhost",
    }  # fmt: skip
    assert found.proxies == found.environment


def test_a_config_var_of_the_build_does_not_reach_its_steps_without_a_variable_of_that_name():
    assert merged({"A": "1"}).beside({"A": "2", "B": "3"}).environment == {"A": "2"}


def test_files_are_named_by_their_paths_and_certificates_always_are_one():
    found = BuildVariables.merged(
        {"PIP_CONFIG_FILE": BuildVariable(value="[global]", file=True), "CA_CERTIFICATES": BuildVariable(value="PEM")}
    )
    assert found.environment == {name: f"{FILES}/{name}" for name in ("PIP_CONFIG_FILE", "CA_CERTIFICATES")}
    assert found.files == {"PIP_CONFIG_FILE": "[global]", "CA_CERTIFICATES": "PEM"}


def test_the_log_hides_values_and_the_passwords_in_them_but_not_the_builds_own():
    found = merged({"HTTP_PROXY": "http://me:pass-word@proxy:1", "MIRROR": "m", "CA_CERTIFICATES": "PEM"})
    assert set(found.beside({"MIRROR": "shown"}).hidden) == {
        "http://me:pass-word@proxy:1", "pass-word", "me:pass-word",
    }  # fmt: skip


def test_a_password_is_hidden_as_it_is_sent_too():
    log = Mask(merged({"HTTP_PROXY": "http://me%40corp:p%40ss%2Fword@proxy:1"}).hidden)
    header = base64.b64encode(b"me@corp:p@ss/word").decode().rstrip("=")
    assert log.hide(f"p%40ss%2Fword p@ss/word Basic {header}") == "[hidden] [hidden] Basic [hidden]"


def test_only_marked_values_are_searched_for_in_images_and_none_that_the_build_replaces():
    marked = {name: BuildVariable(value="a-secret-value", secret=True) for name in ("A", "B")}
    found = BuildVariables.merged({**marked, "C": BuildVariable(value="a-plain-value")})
    assert found.beside({"B": "own"}).secrets == {"A": "a-secret-value"}


def test_no_representation_shows_a_value():
    variable = BuildVariable(value="canary", secret=True)
    assert "canary" not in f"{variable!r} {variable} {BuildVariables({'A': variable})!r}"
    assert "value" not in VariableView.model_fields


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"PIP_INDEX_URL": "https://a/"}, {"PIP_INDEX_URL": "https://b/"}, False),
        ({"PIP_INDEX_URL": "https://a/"}, {}, False),
        ({"OWN": "x"}, {"OWN": "y"}, True),
        ({"HTTP_PROXY": "x"}, {"http_proxy": "x"}, True),
    ],
)
def test_the_input_digest_changes_with_what_the_build_gets(one, other, same):
    builder, settings = "sha256:" + "b" * 64, Settings()
    digests = {input_digest(REQUEST, builder, settings, "stable", merged(each)) for each in (one, other)}
    assert len(digests) == (1 if same else 2)
    assert input_digest(REQUEST, builder, settings, "stable", merged()) == input_digest(REQUEST, builder, settings)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("1A", "x", "is not a valid name"),
        ("PATH", "/mine", "PATH cannot be set for all builds"),
        ("BASH_ENV", "x", "cannot be set"),
        ("LD_PRELOAD", "x", "cannot be set"),
        ("GIT_ALTERNATE_OBJECT_DIRECTORIES", "/cache/o", "cannot be set"),
        ("GIT_OBJECT_DIRECTORY", "/cache/o", "cannot be set"),
        ("PYTHONUSERBASE", "/cache", "cannot be set"),
        ("CA_CERTIFICATES", "# canary of Müller", "not a list of certificates in PEM"),
        ("BUILDFARM_TOOLS", "x", "cannot be set"),
        ("A", "a\0canary", "contains a NUL"),
        ("A", "canary" * 10_000, "too long"),
        ("CA_CERTIFICATES", "canary", "not a list of certificates in PEM"),
        ("CA_CERTIFICATES", "-----BEGIN PRIVATE KEY-----canary", "has a private key"),
    ],
)
def test_what_cannot_be_set_is_named_without_its_value(name, value, told):
    with pytest.raises(RequestError, match=told) as error:
        check_variables({name: BuildVariable(value=value)})
    assert "canary" not in f"{error.value.message} {error.value.advice}"


def test_a_marked_value_must_be_long_enough_to_be_found():
    with pytest.raises(RequestError, match="fewer than 8 characters"):
        check_variables({"A": BuildVariable(value="short", secret=True)})


def test_a_variable_can_be_removed_whatever_its_name():
    check_variables({"PATH": None, "A": None})

"""The farm's nouns: what they accept, refuse and tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from buildfarm.config_vars import check_env
from buildfarm.errors import BUILD_ERRORS, AppError, FarmError
from buildfarm.model import TRANSITIONS, Build, BuildRequest, BuildResult, ImageRequest, Phase, State
from buildfarm.sources.address import ArchiveSource, ArtifactSource, GitSource

DIGEST = "sha256:" + "a" * 64
SOURCE = ArtifactSource(repository="sources/t", digest=DIGEST)


def test_a_final_state_is_one_that_nothing_follows():
    assert {state for state in State if state.final} == {
        State.SUCCEEDED,
        State.FAILED,
        State.CANCELLED,
        State.SUPERSEDED,
    }
    assert set(TRANSITIONS) == set(State)


def test_every_state_can_be_reached_and_every_waiting_one_can_end():
    reached = set().union(*TRANSITIONS.values())
    assert reached | {State.HELD} == set(State)
    assert all(State.CANCELLED in following for state, following in TRANSITIONS.items() if not state.final)


@pytest.mark.parametrize("name", ["a", "shop", "a-b", "0", "a" * 30])
def test_names_of_tenants_and_apps(name):
    assert BuildRequest(tenant=name, app=name, source=SOURCE).repository == f"apps/{name}/{name}"


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a_b", "a/b", "..", "a" * 31, "a\n", "ä"])
def test_names_that_would_break_a_repository_are_refused(name):
    with pytest.raises(ValidationError):
        BuildRequest(tenant="t", app=name, source=SOURCE)


def test_a_source_is_read_back_as_the_kind_it_was():
    for source in (
        SOURCE,
        GitSource(url="https://example.org/r.git"),
        ArchiveSource(url="http://e/x", sha256="0" * 64),
    ):
        request = BuildRequest(tenant="t", app="a", source=source)
        assert BuildRequest.model_validate_json(request.model_dump_json()).source == source


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "git", "url": "file:///etc"},
        {"kind": "git", "url": "https://example.org/r", "ref": "--upload-pack=x"},
        {"kind": "git", "url": "-oProxyCommand=x"},
        {"kind": "archive", "url": "ftp://example.org/x", "sha256": "0" * 64},
        {"kind": "archive", "url": "http://example.org/x", "sha256": "abc"},
        {"kind": "artifact", "repository": "sources/t", "digest": "sha256:short"},
        {"kind": "unheard-of"},
    ],
)
def test_sources_that_cannot_be_meant_are_refused(source):
    with pytest.raises(ValidationError):
        BuildRequest.model_validate({"tenant": "t", "app": "a", "source": source})


@pytest.mark.parametrize("name", ["1A", "A-B", "", "A=B", "../x", "A.B", "É", "A" * 256])
def test_a_config_var_whose_name_no_shell_allows_is_refused(name):
    with pytest.raises(ValueError, match="not a valid name of a config var"):
        check_env({name: "x"})


@pytest.mark.kind("config vars")
@pytest.mark.parametrize(
    "name", ["ENV", "_JAVA_OPTIONS", "UID", "DOCKER_IMAGE_TAG", "PATH", "LD_PRELOAD", "_", "build"]
)
def test_a_name_that_a_shell_allows_is_accepted(name, record_property):
    assert check_env({name: "production"}) == {name: "production"}
    record_property("seen", f"{name} accepted as it is")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a\0b", "contains a NUL"),
        ("\udc80", "not UTF-8"),
        ("x" * 32_769, "too long"),
        ("\U0001f600" * 32_768, "too long"),
    ],
    ids=["NUL", "a byte that is not UTF-8", "too many characters", "too many bytes"],
)
def test_a_value_that_no_program_could_receive_is_refused(value, told):
    with pytest.raises(ValueError, match=f"value of A .*{told}|{told}"):
        check_env({"A": value})


TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=50)


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True), TEXT, max_size=10))
def test_config_vars_pass_as_they_are(variables):
    assert check_env(variables) == variables


def test_the_farms_own_time_leaves_out_what_runs_the_customers_code():
    result = BuildResult(
        repository="apps/t/a",
        digest=DIGEST,
        tag="latest",
        layers=(),
        process_types={},
        buildpacks=(),
        uploaded_bytes=0,
        phase_seconds={Phase.PREPARE: 1, Phase.DETECT: 10, Phase.COMPILE: 100, Phase.EXPORT: 2, Phase.PUBLISH: 3},
        node="n",
        attempt=1,
    )
    assert result.farm_seconds == 6


def test_every_failure_of_a_build_has_a_code_that_says_whose_it_is():
    for code, kind in BUILD_ERRORS.items():
        assert code == kind.code
        assert issubclass(kind, AppError if code.startswith("app.") else FarmError)
    assert len(BUILD_ERRORS) == 21


def test_a_record_tells_an_image_build_from_an_apps():
    requests = (BuildRequest(tenant="t", app="a", source=SOURCE), ImageRequest(image="r", version="7.0", source=SOURCE))
    for request in requests:
        build = Build(id="1", request=request, state=State.QUEUED, submitted_at=0)
        assert Build.model_validate_json(build.model_dump_json()).request == request


def test_versions_of_an_image_are_published_side_by_side():
    old, new = (ImageRequest(image="redis", version=version, source=SOURCE) for version in ("7.0", "8.0"))
    assert old.repository == new.repository == "images/redis"
    assert old.app != new.app
    assert (old.target, new.target) == ("images/redis:7.0", "images/redis:8.0")


@pytest.mark.parametrize("version", ["", "../7", "7 0", "-7", "7/0", "A" * 33])
def test_a_version_is_a_tag(version):
    with pytest.raises(ValidationError):
        ImageRequest(image="redis", version=version, source=SOURCE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"env": {f"V{number}": "x" * 30_000 for number in range(20)}},
        {"buildpacks": ["python"] * 1000},
        {"build_class": "Bulk!"},
        {"run_policy": "newest"},
        {"idempotency_key": ""},
        {"idempotency_key": "x" * 256},
        {"idempotency_key": "two words"},
        {"expires_in_seconds": 0},
        {"expires_in_seconds": 10**9},
        {"expires_in_seconds": "nan"},
    ],
    ids=lambda wrong: f"{next(iter(wrong))}",
)
def test_a_request_that_would_weigh_on_the_queue_is_refused(wrong):
    with pytest.raises(ValidationError):
        BuildRequest(tenant="t", app="a", source=SOURCE, **wrong)


def test_a_request_is_queued_so_that_the_newest_wins_unless_it_says_otherwise():
    request = BuildRequest(tenant="t", app="a", source=SOURCE)
    assert (request.run_policy, request.build_class, request.cached_result) == ("latest_queued", None, True)


@pytest.mark.parametrize(
    ("env", "secrets", "told"),
    [
        ({"A": "x" * 8}, ("B",), "is not a config var"),
        ({"A": "short"}, ("A",), "fewer than 8"),
    ],
)
def test_a_secret_that_cannot_be_hidden_is_refused(env, secrets, told):
    with pytest.raises(ValidationError, match=told):
        BuildRequest(tenant="t", app="a", source=GitSource(url="https://h/x"), env=env, secrets=secrets)


@pytest.mark.parametrize("url", ["https://u:token@h/x", "https://token@h/x", "https://", "ssh://-oProxyCommand=x/y"])
def test_an_address_with_credentials_or_without_a_host_is_refused(url):
    with pytest.raises(ValidationError):
        GitSource(url=url)

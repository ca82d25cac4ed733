"""Provenance says what the record says, the same each time, and no value of a config var."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.config_vars.declared import declared
from buildfarm.model import Build, BuildRequest, BuildResult, ImageRequest, State, UsedBuildpack
from buildfarm.oci.manifest import canonical_json
from buildfarm.oci.signatures.provenance import Builder, BuildType
from buildfarm.releases.models import Rebase
from buildfarm.seal import Seal
from buildfarm.sources.address import ArchiveSource, ArtifactSource, GitSource
from signer.predicates.bounds import PREDICATE_BYTES_MAX
from signer.predicates.dependencies import plain
from signer.predicates.provenance import Provenance
from signer.predicates.recorded import Recorded

HEX, COMMIT = "a" * 64, "c" * 40
SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + HEX)
BASE = "builder@sha256:" + "b" * 64
SEAL = Seal("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
HOSTED, LAPTOP = Provenance("host"), Provenance("host", is_laptop=True)


def request(**fields):
    return BuildRequest(**({"tenant": "t", "app": "a", "source": SOURCE} | fields))


def recorded(asked, *, used=(), commit="", policy="latest_queued"):
    build = Build(
        id="b1", request=asked, state=State.RUNNING, attempt=2, channel="stable", submitted_at=1.0, started_at=2.0
    )
    record = {
        "request": json.dumps({"run_policy": policy}),
        "declared": declared("t/a", asked, SEAL),
        "published_at": "1000000000.5",
    }
    result = BuildResult(
        repository="apps/t/a", digest="sha256:" + HEX, tag="latest", layers=(), uploaded_bytes=0, phase_seconds={},
        node="n", attempt=2, buildpacks=used,
    )  # fmt: skip
    return Recorded.of(build, record, result, (commit, BASE))


def used(source):
    return UsedBuildpack(name="x", kind="classic", source=source, digest="sha256:" + HEX)


def named(predicate):
    return {one["name"]: one for one in predicate["buildDefinition"]["resolvedDependencies"]}


def external(predicate):
    return predicate["buildDefinition"]["externalParameters"]


def test_a_build_has_its_source_and_base_by_digest():
    predicate = HOSTED.of_build(recorded(request()))
    assert predicate["buildDefinition"]["buildType"] == BuildType.BUILD
    found = named(predicate)
    assert found["source"] == {"name": "source", "uri": f"oci://host/sources/t@sha256:{HEX}", "digest": {"sha256": HEX}}
    assert found["base"]["digest"] == {"sha256": "b" * 64}
    assert predicate["runDetails"]["metadata"] == {
        "invocationId": "b1/2", "startedOn": "1970-01-01T00:00:02Z", "finishedOn": "2001-09-09T01:46:40Z"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("maker", "fields", "builder", "cache"),
    [
        (HOSTED, {}, Builder.CACHED, "allowed"),
        (HOSTED, {"clean": True}, Builder.CLEAN, "none"),
        (LAPTOP, {}, Builder.LAPTOP, "allowed"),
        (LAPTOP, {"clean": True}, Builder.LAPTOP, "none"),
    ],
)
def test_the_builder_is_named_by_level(maker, fields, builder, cache):
    predicate = maker.of_build(recorded(request(**fields)))
    assert predicate["runDetails"]["builder"] == {"id": builder}
    assert predicate["buildDefinition"]["internalParameters"] == {"cache": cache}
    assert external(predicate)["clean"] == fields.get("clean", False)


def test_every_field_that_a_tenant_can_send_is_a_parameter():
    """A new field of a request must be added to the provenance, or be named here with a reason."""
    external_names = set(external(HOSTED.of_build(recorded(request()))))
    names = {
        "".join(part.title() if i else part for i, part in enumerate(n.split("_"))) for n in BuildRequest.model_fields
    }
    renamed = {"env": "config", "buildClass": "class"}
    no_part_of_the_image = {"idempotencyKey", "expiresInSeconds"}
    part_of_app = {"tenant"}
    assert {renamed.get(n, n) for n in names} - no_part_of_the_image - part_of_app <= external_names


def test_config_vars_are_names_and_keyed_digests():
    env = {"TOKEN": "a-very-secret-value", "PROJECT_DIR": "a-folder-that-says-much"}
    predicate = HOSTED.of_build(recorded(request(env=env)))
    config = external(predicate)["config"]
    assert set(config) == set(env)
    assert all(value.startswith("hmac-sha256:") and len(value) == 12 + 64 for value in config.values())
    text = canonical_json(predicate).decode() + declared("t/a", request(env=env), SEAL)
    assert [value for value in env.values() if value in text] == []


def test_a_digest_of_a_config_var_says_nothing_to_another_app_tenant_name_or_key():
    def digest(place="t/a", name="A", value="v", seal=SEAL):
        return json.loads(declared(place, request(env={name: value}), seal))["config"][name]

    others = [digest("t/b"), digest("u/a"), digest(name="B"), digest(value="w"), digest(seal=Seal("k"))]
    assert digest() == digest()
    assert digest() not in others


def test_without_their_digests_config_vars_are_named():
    found = replace(recorded(request(env={"A": "v"})), config={"A": ""})
    assert external(HOSTED.of_build(found))["config"] == {"A": ""}


@pytest.mark.parametrize(
    ("source", "commit", "digest", "by_node"),
    [
        (GitSource(url="https://h/r.git", ref=COMMIT), "d" * 40, {"gitCommit": COMMIT}, False),
        (GitSource(url="https://h/r.git", ref="main"), "d" * 40, {"gitCommit": "d" * 40}, True),
        (GitSource(url="https://h/r.git", ref="main"), "junk", None, True),
        (ArchiveSource(url="https://h/x.tgz?token=s3cret", sha256=HEX), "", {"sha256": HEX}, False),
    ],
)
def test_what_a_branch_stood_for_is_the_nodes_word(source, commit, digest, by_node):
    predicate = HOSTED.of_build(recorded(request(source=source), commit=commit))
    found = named(predicate)["source"]
    assert found.get("digest") == digest
    assert ("annotations" in found) == by_node
    assert "s3cret" not in canonical_json(predicate).decode()


def test_a_buildpack_that_the_request_pins_is_certain_and_others_are_the_nodes_word():
    pinned, moving = f"https://h/one.git#{COMMIT}", "https://h/two.git#main"
    reports = (used(pinned), used(f"https://h/two.git#{'d' * 40}"), used("python"), used("./own"), used("rm -rf /"))
    predicate = HOSTED.of_build(recorded(request(buildpacks=(pinned, moving)), used=reports))
    found = named(predicate)
    assert "annotations" not in found["buildpack/one"]
    assert found["buildpack/one"]["digest"] == {"gitCommit": COMMIT}
    assert found["buildpack/two"]["annotations"] == {"buildfarm_reportedBy": "node"}
    assert set(found) == {"source", "base", "buildpack/one", "buildpack/two"}
    assert external(predicate)["buildpacks"] == [pinned, moving]


def test_variables_and_credentials_that_count_are_named_as_such():
    told = external(HOSTED.of_build(recorded(request(), policy="latest_queued+variables+credentials")))
    assert (told["buildVariables"], told["credentials"]) == (True, True)
    told = external(HOSTED.of_build(recorded(request())))
    assert (told["buildVariables"], told["credentials"]) == (False, False)


def test_an_image_of_the_farm_has_its_recipe():
    asked = ImageRequest(image="postgresql", version="17", source=SOURCE)
    predicate = HOSTED.of_build(recorded(asked))
    assert predicate["buildDefinition"]["buildType"] == BuildType.IMAGE
    assert external(predicate)["image"] == "postgresql"
    assert set(named(predicate)) == {"recipe"}
    assert predicate["runDetails"]["builder"] == {"id": Builder.CLEAN}


def test_a_move_names_the_image_the_release_and_the_new_base():
    image, origin, release = ("sha256:" + char * 64 for char in "123")
    move = Rebase(at=1e9, image=image, previous=origin, base=BASE, previous_base="", moved=True)
    predicate = HOSTED.of_move("apps/t/a", move, origin, "next", release)
    assert {name: one["digest"]["sha256"][0] for name, one in named(predicate).items()} == {
        "image": "2", "release": "3", "base": "b"
    }  # fmt: skip
    assert external(predicate) == {"app": "t/a", "base": BASE, "channel": "next"}
    assert predicate["runDetails"]["builder"] == {"id": Builder.COMPOSE}


@pytest.mark.parametrize("at", [float("inf"), float("nan"), 1e30, -1e30])
def test_a_time_that_is_none_is_left_out(at):
    move = Rebase(at=at, image="i", previous="p", base=BASE, previous_base="", moved=True)
    assert HOSTED.of_move("apps/t/a", move, "sha256:0", "stable", "sha256:1")["runDetails"]["metadata"] == {}


def test_the_longest_request_makes_a_bounded_statement_that_still_says_what_it_left_out():
    many = tuple(f"https://h/{number:02}{'x' * 1900}.git#{COMMIT}" for number in range(50))
    env = {f"N{number:03}{'y' * 240}": "v" for number in range(200)}
    asked = request(buildpacks=many, buildpack_order=many, env=env, secrets=())
    predicate = HOSTED.of_build(recorded(asked, used=tuple(used(f"{text[:-40]}{'d' * 40}") for text in many)))
    assert len(canonical_json(predicate)) <= PREDICATE_BYTES_MAX
    assert {*external(predicate)["buildpacks"]} == {"digest"}
    assert {"source", "base"} <= set(named(predicate))
    assert external(predicate)["app"] == "t/a"


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z]{1,9}", fullmatch=True),
        st.text(st.characters(codec="ascii", exclude_characters="\0")),
        max_size=5,
    )
)
def test_equal_records_make_equal_bytes(env):
    asked = request(env=env)
    once, again = (canonical_json(HOSTED.of_build(recorded(asked))) for _ in range(2))
    assert once == again == canonical_json(json.loads(once))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://h/x.tgz?token=1#sha256=2", "https://h/x.tgz#sha256=2"),
        ("ssh://git@h/x.git#main", "ssh://git@h/x.git#main"),
        ("oci:buildpacks/x@sha256:1", "oci:buildpacks/x@sha256:1"),
        ("python", "python"),
        ("https://h/x.git#a#b?c", "https://h/x.git#a#b?c"),
        ("https://user:s3cr3t@h:8443/x.git#main", "https://h:8443/x.git#main"),
        ("https://s3cr3t@h/x.git", "https://h/x.git"),
        ("http://a@b:s3cr3t@h/x.git", "http://h/x.git"),
        ("git://user:s3cr3t@h/x", "git://h/x"),
        ("ssh://git:s3cr3t@h/x.git", "ssh://git@h/x.git"),
        ("git://s3cr3t@[abc/x", ""),
    ],
)
def test_an_address_loses_what_may_be_a_token(address, expected):
    assert plain(address) == expected


def test_a_token_in_a_buildpacks_address_is_in_no_statement():
    """Records from before such addresses were refused, and a node's word, can have one."""
    address = f"https://user:s3cr3t@h/x.git#{COMMIT}"
    asked = request().model_copy(update={"buildpacks": (address,), "buildpack_order": (address,)})
    predicate = HOSTED.of_build(recorded(asked, used=(used(address),)))
    assert "s3cr3t" not in canonical_json(predicate).decode()


def test_an_address_that_cannot_be_read_does_not_keep_an_image_unsigned():
    """Records from before such addresses were refused, and a node's word, can have one."""
    address = f"git://[abc/x#{COMMIT}"
    asked = request().model_copy(update={"buildpacks": (address,), "buildpack_order": (address,)})
    predicate = HOSTED.of_build(recorded(asked, used=(used(address),)))
    assert external(predicate)["buildpackOrder"] == [""]
    assert set(named(predicate)) == {"source", "base"}


def test_turned_off_nothing_is_made_that_could_fail():
    off = Provenance("host", is_off=True)
    assert off.of_build(recorded(request())) == {}
    move = Rebase(at=1e9, image="i", previous="p", base=BASE, previous_base="", moved=True)
    assert off.of_move("apps/t/a", move, "sha256:0", "stable", "sha256:1") == {}


def test_a_buildpack_of_the_config_var_is_named_by_its_digest_alone():
    """Its address is the value of a config var."""
    address = f"https://h/private-name.git#{COMMIT}"
    predicate = HOSTED.of_build(recorded(request(env={"BUILDPACK_URL": address}), used=(used(address),)))
    assert "private-name" not in canonical_json(predicate).decode()
    found = named(predicate)["buildpack/BUILDPACK_URL"]
    assert (found["digest"], found["annotations"]) == ({"gitCommit": COMMIT}, {"buildfarm_reportedBy": "node"})

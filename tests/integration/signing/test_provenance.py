"""Every image that the signer signs has provenance before its tag moves, out of the record alone."""

from __future__ import annotations

import pytest

from buildfarm.errors import RegistryError
from buildfarm.model import ImageRequest, Phase, State
from buildfarm.oci.registry import Registry
from buildfarm.oci.signatures import checking, referrers
from buildfarm.oci.signatures.attaching import Attaching
from buildfarm.oci.signatures.provenance import Builder, BuildType
from buildfarm.releases.signing.requests import SignRequests
from buildfarm.telemetry import logger
from signer.work import Work
from tests.integration.signing.conftest import SECOND, SOURCE, TARGET, due_again, make_base


def made(farm, key, digest, repository=TARGET):
    """The provenance of an image, the oldest first."""
    return checking.verify(farm.registry, repository, str(digest), [key.public_key]).provenance


def dependencies(one):
    return {item["name"]: item for item in one.dependencies}


def test_a_build_has_provenance_when_its_tag_moves(farm, publishing, work, key, monkeypatch):
    seen, real = [], Registry.move_tag

    def move_tag(self, repository, tag, *rest):
        seen.append(made(farm, key, result.digest))
        return real(self, repository, tag, *rest)

    monkeypatch.setattr(Registry, "move_tag", move_tag)
    lease, result = publishing.handed_over(publishing.claimed(env={"A": "a-secret-value"}, size=None))
    assert work.turn()
    [[found]] = seen
    assert (found.build_type, found.builder) == (BuildType.BUILD, Builder.CACHED)
    assert found.metadata["invocationId"] == f"{lease.build_id}/1"
    assert found.parameters["app"] == "t/a"
    assert found.parameters["config"]["A"].startswith("hmac-sha256:")
    assert dependencies(found)["source"]["digest"] == {"sha256": SOURCE.digest.hex}
    assert dependencies(found)["base"]["uri"] == f"oci://{farm.registry.host}/{publishing.base}"


def test_a_clean_build_says_so(farm, publishing, work, key):
    publishing.handed_over()
    work.turn()
    clean = publishing.claimed(clean=True)
    assert clean.build.request.clean
    assert farm.get(clean.build_id).request.clean
    _, result = publishing.handed_over(clean, code="2")
    work.turn()
    [found] = made(farm, key, result.digest)
    assert (found.builder, found.parameters["clean"]) == (Builder.CLEAN, True)


def test_a_request_that_is_done_again_writes_the_same_bytes(farm, publishing, work, key, monkeypatch):
    _, result = publishing.handed_over()

    def fails(*args):
        raise RegistryError("away")

    with monkeypatch.context() as broken:
        broken.setattr(Registry, "move_tag", fails)
        with pytest.raises(RegistryError):
            work.turn()
    tag = referrers.tag_of(result.digest)
    before = farm.registry.get_manifest(TARGET, tag)[1]
    due_again(farm)
    assert work.turn()
    assert farm.registry.get_manifest(TARGET, tag)[1] == before
    assert len(made(farm, key, result.digest)) == 1


def test_of_many_runs_to_one_image_the_first_and_the_newest_stay(farm, publishing, work, key):
    for clean in (False, True):
        for channel in range(4):
            _, result = publishing.handed_over(publishing.claimed(clean=clean, env={"A": str(channel)}))
            work.turn()
    found = made(farm, key, result.digest)
    assert [one.builder for one in found] == [Builder.CACHED, Builder.CACHED, Builder.CLEAN, Builder.CLEAN]
    assert checking.verify(farm.registry, TARGET, str(result.digest), [key.public_key]).forms == ("tag", "bundle")


def test_an_equal_run_adds_nothing(farm, publishing, work, key):
    for _ in range(2):
        _, result = publishing.handed_over(publishing.claimed(cached_result=False))
        work.turn()
    [found] = made(farm, key, result.digest)
    assert found.builder == Builder.CACHED


def test_a_move_says_which_release_it_put_on_which_base(farm, publishing, work, key):
    _, result = publishing.handed_over()
    work.turn()
    base = make_base(farm, SECOND)
    moved = farm.rebase("t", "a", base=base)
    work.turn()
    assert publishing.tag() == moved.image
    [found] = made(farm, key, moved.image)
    assert (found.build_type, found.builder) == (BuildType.COMPOSE, Builder.COMPOSE)
    told = dependencies(found)
    assert told["image"]["digest"] == {"sha256": result.digest.hex}
    assert told["base"]["uri"].endswith(base)
    assert farm.registry.has_manifest(TARGET, "sha256:" + told["release"]["digest"]["sha256"])


def test_a_move_back_needs_no_new_statement(farm, publishing, work, key):
    """As an abort does it: no image is made, and the one that is there says how it was."""
    _, result = publishing.handed_over()
    work.turn()
    farm.rebase("t", "a", base=make_base(farm, SECOND))
    work.turn()
    back = farm.rebase("t", "a", base=publishing.base, older=True)
    assert back.image == result.digest == publishing.tag()
    [found] = made(farm, key, result.digest)
    assert dependencies(found)["base"]["uri"].endswith(publishing.base)


def test_an_image_that_was_built_before_signing_gets_provenance_by_its_record(farm, publishing, work, key):
    lease = publishing.claimed()
    result = publishing.result(lease)
    publishing.leases.publish(lease, TARGET, result)
    publishing.leases.succeed(lease, result)
    work.requests.ask(TARGET)
    work.turn()
    [found] = made(farm, key, result.digest)
    assert found.metadata["invocationId"] == f"{lease.build_id}/1"
    assert "finishedOn" in found.metadata


def test_an_image_of_the_farm_itself_has_provenance(farm, publishing, work, key):
    build = farm.submit(ImageRequest(image="postgresql", version="17", source=SOURCE))
    lease = publishing.leases.claim(build.id, "n")
    repository = "images/postgresql"
    result = publishing.result(lease, repository=repository)
    SignRequests(farm.admission).hand_over(lease, f"{repository}:17", result)
    work.turn()
    assert farm.get(build.id).state is State.SUCCEEDED
    [found] = made(farm, key, result.digest, repository)
    assert (found.build_type, found.parameters["version"]) == (BuildType.IMAGE, "17")
    assert dependencies(found)["recipe"]["digest"] == {"sha256": SOURCE.digest.hex}


@pytest.mark.parametrize(("mode", "builders"), [("off", []), ("laptop", [Builder.LAPTOP])])
def test_the_setting_names_the_farm_or_turns_provenance_off(farm, publishing, key, mode, builders):
    from dataclasses import replace

    other = replace(farm, settings=farm.settings.model_copy(update={"provenance": mode}))
    work = Work.of(other, Attaching(farm.registry, [key]), logger())
    lease, result = publishing.handed_over()
    work.turn()
    assert farm.get(lease.build_id).result.phase_seconds[Phase.PUBLISH] >= 0
    assert [one.builder for one in made(farm, key, result.digest)] == builders


def test_what_a_node_reports_beyond_the_record_is_marked_or_left_out(farm, publishing, work, key):
    lease = publishing.claimed()
    used = {"name": "x", "kind": "classic", "digest": SOURCE.digest}
    sources = [f"https://h/x.git#{'d' * 40}", "\x1b[2Jjunk", "python"]
    result = publishing.result(lease)
    told = {"buildpacks": [used | {"source": source} for source in sources], "attempt": 99, "node": "evil"}
    forged = result.model_validate(result.model_dump() | told)
    SignRequests(farm.admission).hand_over(lease, TARGET, forged)
    work.turn()
    [found] = made(farm, key, result.digest)
    assert found.metadata["invocationId"].endswith("/1")
    marked = {name: "annotations" in one for name, one in dependencies(found).items()}
    assert marked == {"source": False, "base": False, "buildpack/x": True}
    assert "evil" not in str(found.predicate)

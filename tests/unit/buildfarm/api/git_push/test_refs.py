"""Which of a push's refs is built: tables."""

from __future__ import annotations

import pytest

from buildfarm.api.routes.git_push.commands import NO_OBJECT, Update
from buildfarm.api.routes.git_push.following import verdict
from buildfarm.api.routes.git_push.refs import decide
from buildfarm.model import Build, BuildRequest, Failure, Fault, Phase, State
from buildfarm.sources.address import GitSource

ONE, TWO = "1" * 40, "2" * 40
MAIN, MASTER, DEV = (Update(f"refs/heads/{name}", ONE) for name in ("main", "master", "dev"))
TAG = Update("refs/tags/v1", TWO)
GONE = Update("refs/heads/main", NO_OBJECT)


@pytest.mark.parametrize(
    ("updates", "built", "refused", "ignored"),
    [
        ([MAIN], MAIN, [], []),
        ([MASTER], MASTER, [], []),
        ([DEV, MASTER, MAIN, TAG], MAIN, [], [DEV.ref, MASTER.ref, TAG.ref]),
        ([DEV], None, [DEV.ref], []),
        ([TAG], None, [TAG.ref], []),
        ([TAG, DEV], None, [TAG.ref, DEV.ref], []),
        ([GONE], None, [GONE.ref], []),
        ([MASTER, GONE], MASTER, [GONE.ref], []),
        ([Update("refs/notes/main", ONE)], None, ["refs/notes/main"], []),
        ([], None, [], []),
    ],
)
def test_one_branch_is_built_and_what_comes_alone_is_refused(updates, built, refused, ignored):
    found = decide(updates, ["main", "master"])
    assert (found.built, list(found.refused), list(found.ignored)) == (built, refused, ignored)
    assert all(found.refused.values())


def test_the_refusal_of_a_branch_says_how_to_push_it():
    assert decide([DEV], ["live"]).refused == {DEV.ref: "the farm builds live: git push FARM dev:live"}


def build(state, **fields):
    request = BuildRequest(tenant="t", app="a", source=GitSource(url="https://x/y"))
    return Build(id="b1", request=request, state=state, submitted_at=0, **fields)


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (build(State.SUCCEEDED), ""),
        (build(State.CANCELLED), "was cancelled"),
        (build(State.SUPERSEDED, superseded_by="b2"), "b2"),
        (build(State.FAILED, failure=Failure(code="app.compile", fault=Fault.APP, phase=Phase.COMPILE, message="No.")),
         "the build failed: No."),
        (build(State.FAILED, failure=Failure(code="farm.node", fault=Fault.FARM, phase=None, message="Gone.")),
         "the farm could not build it: Gone."),
    ],
)  # fmt: skip
def test_the_end_of_a_build_is_the_verdict_on_its_ref(ended, words):
    assert words in verdict(ended)
    assert bool(verdict(ended)) == bool(words)

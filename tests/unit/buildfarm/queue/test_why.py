"""Why a build waits, by what the store and the nodes say."""

from __future__ import annotations

import pytest

from buildfarm.model import Build, BuildRequest, State
from buildfarm.node import Node, NodeState
from buildfarm.oci.digest import Digest
from buildfarm.queue.why import Cause, Standing, why_waiting
from buildfarm.sources.address import ArtifactSource

SOURCE = ArtifactSource(repository="sources/t", digest=Digest("sha256:" + "a" * 64))


def build(state=State.QUEUED):
    request = BuildRequest(tenant="t", app="a", source=SOURCE)
    return Build(id="new", request=request, build_class="bulk", state=state, submitted_at=0.0)


def node(busy=0, slots=2, state=NodeState.READY, classes=("interactive", "bulk")):
    builds = tuple(f"b{number}" for number in range(busy))
    return Node(id="n", state=state, slots=slots, builds=builds, classes=classes)


def standing(**fields):
    return Standing(**{"tenant_open": 1, "tenant_limit": 10, "app_open": 0, "app_limit": 1, **fields})


@pytest.mark.parametrize(
    ("nodes", "cause"),
    [
        ([], Cause.NODE),
        ([node(state=NodeState.DRAINING), node(state=NodeState.GONE)], Cause.NODE),
        ([node(classes=("interactive",))], Cause.NODE),
        ([node(busy=2), node(classes=("interactive",))], Cause.SLOT),
        ([node(busy=2), node(busy=1)], Cause.NOTHING),
        ([node(classes=())], Cause.NOTHING),  # of a version that does not say what it takes
    ],
)
def test_a_queued_build_waits_for_a_node_or_a_slot(nodes, cause):
    assert why_waiting(build(), standing(), nodes)[0] is cause


def test_the_sentence_does_not_tell_tenants_how_many_slots_there_are():
    _, sentence = why_waiting(build(), standing(), [node(busy=2), node(busy=2), node(classes=("interactive",))])
    assert sentence == "All slots for builds of the class bulk are busy."


@pytest.mark.parametrize(
    ("fields", "cause", "sentence"),
    [
        (
            {"app_open": 1, "earlier": "5f2a"},
            Cause.APP_LIMIT,
            "An earlier build of the app has not ended: 5f2a.",
        ),
        ({"app_open": 1}, Cause.APP_LIMIT, "The app has 1 queued or running build; its limit is 1."),
        (
            {"app_open": 3, "app_limit": 3, "earlier": "5f2a"},
            Cause.APP_LIMIT,
            "The app has 3 queued or running builds; its limit is 3.",
        ),
        ({"tenant_open": 10}, Cause.TENANT_LIMIT, "The tenant has 10 queued or running builds; its limit is 10."),
        ({}, Cause.TURN, "Other builds of the tenant are queued before it."),
    ],
)
def test_a_held_build_waits_for_a_limit_or_its_turn(fields, cause, sentence):
    assert why_waiting(build(State.HELD), standing(**fields), [node(busy=2)]) == (cause, sentence)


BASE = f"builder@sha256:{'b' * 64}"


@pytest.mark.parametrize(
    ("has", "cause"),
    [((), Cause.BASE), (("sha256:" + "c" * 64,), Cause.BASE), (("sha256:" + "b" * 64,), Cause.SLOT)],
    ids=["a node of an older version", "a node with another", "a node that has it by now"],
)
def test_a_base_that_no_node_has_yet_is_waited_for(has, cause):
    busy = node(busy=2).model_copy(update={"builders": has})
    found, sentence = why_waiting(build(), standing(lacks=BASE), [busy])
    assert found is cause
    assert (BASE in sentence) is (cause is Cause.BASE)


def test_a_retry_has_a_pause():
    failed_once = build().model_copy(update={"attempt": 1})
    found = why_waiting(failed_once, standing(retry_seconds=11.6), [node()])
    assert why_waiting(build(), standing(retry_seconds=0.9), [node()])[0] is Cause.NOTHING  # offered to a node
    assert found == (Cause.RETRY, "Its last attempt failed by the farm's fault; the next one may begin in 12 s.")

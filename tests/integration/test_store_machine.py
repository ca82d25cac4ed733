"""The store's scripts against a model, in generated orders, on a real Redis that sometimes loses its newest writes."""

from __future__ import annotations

import uuid
from contextlib import nullcontext
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from buildfarm.errors import Cancelled, LeaseLost, TooLateError
from buildfarm.model import TRANSITIONS, BuildRequest, BuildResult, Failure, Fault, Phase, State
from buildfarm.queue.messages import message_template
from buildfarm.queue.names import TASK
from buildfarm.queue.view import Limits
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import Admission, AdmissionPolicy, Lease, Leases, Logs, Records, Tags, open_database
from testkit.builds import repeats
from tests.integration.lost_writes import go_back, remember

DIGEST = "sha256:" + "a" * 64
REQUEST = BuildRequest(tenant="t", app="a", source=ArtifactSource(repository="sources/t", digest=DIGEST))
FAILURE = Failure(code="farm.node", fault=Fault.FARM, phase=None, message="m")
RESULT = BuildResult(
    repository="apps/t/a",
    digest=DIGEST,
    tag="latest",
    layers=(),
    process_types={},
    buildpacks=(),
    uploaded_bytes=0,
    phase_seconds={},
    node="n",
    attempt=1,
)
ATTEMPTS_MAX = 2
TERMS = AdmissionPolicy(
    {"interactive": 1}, Limits(tenant_running=9, tenant_waiting=9, app_running=1), 60, message_template(TASK)
)
BEFORE = "sha256:" + "b" * 64  # the image of an earlier build


def result_of(lease):
    """Each claim makes its own image."""
    return RESULT.model_copy(update={"digest": f"sha256:{lease.token:0>64}", "attempt": lease.attempt})


@dataclass
class Model:
    """What is expected of the record; where Redis loses writes, it goes back with it."""

    state: State = State.QUEUED
    attempt: int = 0
    token: str = ""
    phase: Phase | None = None
    cancel_asked: bool = False
    lapsed: bool = False
    published: str = ""  # the digest that the build will succeed with
    target: str = BEFORE
    lines: int = 0


RECENT = st.sampled_from([0, 0, 0, 0, 1, 2])  # how far back; the newest is the one that matters most


def holder_rule(**strategies):
    """A rule for one of the holders: mostly the newest, if there is one."""

    def decorate(act):
        @precondition(lambda self: self.held)
        @rule(back=RECENT, **strategies)
        def step(self, back, **drawn):
            if back < len(self.held):
                act(self, self.held[-1 - back], **drawn)

        step.__name__ = act.__name__
        return step

    return decorate


class StoreMachine(RuleBasedStateMachine):
    """The record against its model. What holders and the registry have does not go back when Redis loses writes."""

    service_settings = None

    @initialize()
    def open(self):
        namespace = f"test-{uuid.uuid4().hex[:8]}:"
        self.database = open_database(self.service_settings.model_copy(update={"namespace": namespace}))
        admission = Admission(self.database, TERMS)
        self.records = Records(admission)
        # A lease of no length has always ended, one of an hour never has: time need not pass for either.
        self.holders = Leases(admission, 3600, ATTEMPTS_MAX)
        self.silent = Leases(admission, -1, ATTEMPTS_MAX)
        self.sweeper = Leases(admission, 0, ATTEMPTS_MAX, -3600)  # its doubt ends as soon as it begins
        self.log = Logs(self.database, 10_000)
        self.tags = Tags(self.database)
        self.database.client.hset(self.database.key("tags"), REQUEST.target, BEFORE)
        self.tag = BEFORE  # in the registry
        self.claims = 0
        self.held = []  # the lease of every claim, newest last
        self.accepted = set()  # tokens of holders that were told that they publish
        self.batches = {}
        self.model = Model()
        for _ in range(2):
            assert self.records.submit("b", REQUEST, "build.interactive.0").build_id == "b"
        self.moments = []
        self.calm = 0  # steps since Redis lost writes
        self.a_replica_has_it()

    def teardown(self):
        if not hasattr(self, "database"):
            return
        try:
            self.everything_ends_and_agrees()
        finally:
            keys = list(self.database.client.scan_iter(f"{self.database.namespace}*"))
            self.database.client.delete(*keys)
            self.database.close()

    def everything_ends_and_agrees(self):
        """No build waits forever; then record, tag and image agree, whatever was lost on the way."""
        for _ in range(2 * ATTEMPTS_MAX):
            lease = self.holders.claim("b", "n")
            if isinstance(lease, Lease):
                self.holders.fail(lease, FAILURE)
            self.database.client.zadd(self.database.key("leases"), {"b": 0}, xx=True)
            self.sweeper.sweep()
            self.sweeper.take_back("b", FAILURE)
        build, wanted = self.records.get("b"), self.records.tag_target(REQUEST.target)
        assert build.state.final
        assert wanted == (build.result.digest if build.result else BEFORE)
        self.repair()
        assert self.tag == wanted

    def enters(self, state):
        assert state in TRANSITIONS[self.model.state], (self.model.state, state)
        self.model.state = state
        self.model.cancel_asked = False

    def newest(self, lease):
        return (lease.attempt, lease.token) == (self.model.attempt, self.model.token)

    def holds(self, lease):
        return self.model.state is State.RUNNING and self.newest(lease)

    @precondition(lambda self: self.model.state is State.QUEUED)
    @rule()
    def claim_soon(self):
        self.claims_it(lapsed=False)

    @rule(lapsed=st.booleans())
    def claim(self, lapsed):
        self.claims_it(lapsed)

    def claims_it(self, lapsed):
        model, claims = self.model, self.silent if lapsed else self.holders
        self.claims += 1
        token = f"{self.claims:x}"
        lease, again = (claims.claim("b", "n", token) for _ in range(2))
        if model.state is not State.QUEUED:
            assert lease.reason == model.state
            return
        self.enters(State.RUNNING)
        model.attempt += 1
        model.token, model.phase, model.lapsed = token, Phase.PREPARE, lapsed
        assert (lease.attempt, lease.token) == (model.attempt, token)
        assert again == lease
        self.held.append(lease)

    @holder_rule()
    def a_claim_comes_again_late(self, lease):
        if self.holds(lease):
            assert self.holders.claim("b", "n", lease.token) == lease
            self.model.lapsed = False
        elif self.newest(lease):
            assert self.holders.claim("b", "n", lease.token).reason == "given back"

    def refused(self, lease):
        """What every write of this holder raises, if it does."""
        if not self.holds(lease):
            return pytest.raises(LeaseLost)
        if self.model.cancel_asked:
            return pytest.raises(Cancelled)
        return nullcontext()

    @holder_rule(phase=st.sampled_from(Phase))
    def renew(self, lease, phase):
        model = self.model
        may = self.holds(lease) and not model.cancel_asked
        with self.refused(lease):
            self.holders.renew(lease, phase)
        if may:
            model.lapsed = False
            model.phase = model.phase if Phase.PUBLISH in {phase, model.phase} else phase

    @holder_rule()
    def write_log(self, lease):
        batch = self.batches[lease.token] = self.batches.get(lease.token, 0) + 1
        for _ in range(2):
            with nullcontext() if self.holds(lease) else pytest.raises(LeaseLost):
                self.log.append(lease, Phase.COMPILE, ["line"], batch)
        self.model.lines += self.holds(lease)

    @holder_rule()
    def publish(self, lease):
        model = self.model
        may = self.holds(lease) and not model.cancel_asked
        with self.refused(lease):
            self.holders.publish(lease, REQUEST.target, result_of(lease))
        if may:
            self.accepted.add(lease.token)
            model.lapsed = model.lapsed and bool(model.published)
            model.phase, model.published, model.target = (Phase.PUBLISH, *(result_of(lease).digest,) * 2)

    @holder_rule(dies=st.booleans())
    def move_tag(self, lease, dies):
        """As a holder does that was told so; it looks at the record again afterwards, unless it dies before."""
        self.tag_moves(lease, dies)

    def tag_moves(self, lease, dies):
        if lease.token in self.accepted and (self.holds(lease) or not dies):
            self.tag = result_of(lease).digest if dies else self.records.tag_target(REQUEST.target)

    @holder_rule(end=st.sampled_from([State.SUCCEEDED, State.FAILED, State.CANCELLED]))
    def finish(self, lease, end):
        if end is State.SUCCEEDED:
            if lease.token not in self.accepted:
                return
            self.tag_moves(lease, dies=False)
        write = {
            State.SUCCEEDED: lambda: self.holders.succeed(lease, result_of(lease)),
            State.FAILED: lambda: self.holders.fail(lease, FAILURE),
            State.CANCELLED: lambda: self.holders.cancel(lease),
        }[end]
        if self.holds(lease):
            write()
            if end is State.SUCCEEDED:
                # What it published may have been lost since, and is written again.
                self.model.published, self.model.target = (result_of(lease).digest,) * 2
            self.enters(State.SUCCEEDED if self.model.published else end)
        with nullcontext() if self.newest(lease) and self.model.state is end else pytest.raises(LeaseLost):
            write()

    @holder_rule()
    def give_back(self, lease):
        holds, newest = self.holds(lease), self.newest(lease)
        self.released(self.holders.give_back(lease, FAILURE), holds)
        assert self.holders.give_back(lease, FAILURE) == (self.model.state if newest else "stale")

    @rule()
    def sweep(self):
        may = self.model.state is State.RUNNING and self.model.lapsed
        assert self.holders.expired(10) == (["b"] if may else [])
        self.sweeper.sweep()
        self.released(self.sweeper.take_back("b", FAILURE), may)

    @precondition(lambda self: self.model.state is State.RUNNING)
    @rule()
    def nothing_is_taken_back_in_doubt(self):
        self.database.client.hset(self.database.key("swept"), "run_id", "another")
        self.database.client.zadd(self.database.key("leases"), {"b": 0}, xx=True)
        self.model.lapsed = self.model.state is State.RUNNING
        assert self.holders.take_back("b", FAILURE) == "stale"
        assert self.holders.sweep() == "begins"
        assert self.holders.sweep() == "doubt"
        assert self.holders.take_back("b", FAILURE) == "stale"

    def released(self, answer, may):
        if not may:
            assert answer == "stale" or self.model.state is not State.RUNNING
            return
        expected = State.QUEUED
        if self.model.published:
            expected = State.SUCCEEDED
        elif self.model.cancel_asked:
            expected = State.CANCELLED
        elif self.model.attempt >= ATTEMPTS_MAX:
            expected = State.FAILED
        assert answer == expected
        self.enters(expected)
        self.model.phase = None

    @precondition(lambda self: self.held)
    @rule(chance=st.integers(0, 3))
    def cancel(self, chance):
        model = self.model
        if chance < 3:  # it ends most of what could come after it
            return
        if model.state is State.RUNNING and model.published:
            with pytest.raises(TooLateError):
                self.records.cancel("b")
            return
        assert self.records.cancel("b") is model.state
        if model.state is State.RUNNING:
            model.cancel_asked = True
        elif model.state is State.QUEUED:
            self.enters(State.CANCELLED)

    @rule()
    def repair(self):
        for unsettled in self.tags.due(10):
            assert unsettled.target == REQUEST.target
            self.tag = self.records.tag_target(unsettled.target)
            self.tags.settled(unsettled)

    @precondition(lambda self: self.calm % 4 == 3)
    @rule()
    def a_replica_has_it(self):
        self.calm += 1
        self.moments.append((remember(self.database), replace(self.model)))

    @precondition(lambda self: self.calm > 6)
    @rule(back=RECENT)
    def the_newest_writes_are_lost(self, back):
        self.calm = 0
        keys, model = self.moments[max(len(self.moments) - 1 - back, 0)]
        go_back(self.database, keys)
        self.model = replace(model)

    @invariant()
    def the_record_says_the_same(self):
        if not hasattr(self, "model"):
            return
        self.calm += 1
        build, model = self.records.get("b"), self.model
        assert (build.state, build.attempt, build.phase) == (model.state, model.attempt, model.phase)
        assert self.records.queued_count() == (model.state is State.QUEUED)
        assert (build.finished_at is not None) == model.state.final
        assert (build.result.digest if build.result else "") == (model.published if model.state.final else "")
        assert self.records.tag_target(REQUEST.target) == model.target
        assert self.database.client.xlen(self.database.key("build", "b", "log")) == model.lines
        ttl = self.database.client.ttl(self.database.key("build", "b"))
        assert (ttl > 0) == model.state.final


def test_every_order_of_events_keeps_to_the_table(services):
    StoreMachine.service_settings = services
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=repeats(40, 100),
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

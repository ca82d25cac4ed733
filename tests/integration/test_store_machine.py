"""The store's scripts against the table of allowed changes, in generated orders, on a real Redis."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from buildfarm.errors import Cancelled, LeaseLost
from buildfarm.model import TRANSITIONS, ArtifactSource, BuildRequest, BuildResult, Failure, Fault, Limits, Phase, State
from buildfarm.queues import TASK
from buildfarm.store import Admission, Leases, Logs, Records, Terms, open_database
from buildfarm.transport import message_template

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
TERMS = Terms({"interactive": 1}, Limits(tenant_running=9, tenant_waiting=9, app_running=1), 60, message_template(TASK))


class StoreMachine(RuleBasedStateMachine):
    """Two kinds of facts: what the record says, and what this model expects of it."""

    service_settings = None
    leases = Bundle("leases")

    @initialize()
    def open(self):
        namespace = f"test-{uuid.uuid4().hex[:8]}:"
        self.database = open_database(self.service_settings.model_copy(update={"namespace": namespace}))
        admission = Admission(self.database, TERMS)
        self.records = Records(admission)
        # A lease of no length has always ended, one of an hour never has: time need not pass for either.
        self.holders = Leases(admission, 3600, ATTEMPTS_MAX)
        self.silent = Leases(admission, -1, ATTEMPTS_MAX)
        self.log = Logs(self.database, 10_000)
        self.state = State.QUEUED
        self.attempt = 0
        self.cancel_asked = False
        self.lapsed = False
        for _ in range(2):
            assert self.records.submit("b", REQUEST, "build.interactive.0").build_id == "b"

    def teardown(self):
        if hasattr(self, "database"):
            keys = list(self.database.client.scan_iter(f"{self.database.namespace}*"))
            self.database.client.delete(*keys)
            self.database.close()

    def enters(self, state):
        assert state in TRANSITIONS[self.state], (self.state, state)
        self.state = state

    @rule(target=leases, lapsed=st.booleans())
    def claim(self, lapsed):
        lease = (self.silent if lapsed else self.holders).claim("b", "n")
        if self.state is not State.QUEUED:
            assert lease.reason == self.state
            return multiple()
        self.enters(State.RUNNING)
        self.attempt += 1
        self.lapsed = lapsed
        assert lease.attempt == self.attempt
        return lease

    def holds(self, lease):
        return self.state is State.RUNNING and lease.attempt == self.attempt

    @rule(lease=leases, phase=st.sampled_from(Phase))
    def renew(self, lease, phase):
        if not self.holds(lease):
            with pytest.raises(LeaseLost):
                self.holders.renew(lease, phase)
        elif self.cancel_asked:
            with pytest.raises(Cancelled):
                self.holders.renew(lease, phase)
        else:
            self.holders.renew(lease, phase)
            self.lapsed = False
            assert self.records.get("b").phase is phase

    @rule(lease=leases)
    def write_log(self, lease):
        if self.holds(lease):
            self.log.append(lease, Phase.COMPILE, ["line"])
        else:
            with pytest.raises(LeaseLost):
                self.log.append(lease, Phase.COMPILE, ["late"])

    @rule(lease=leases)
    def publish(self, lease):
        digest = f"sha256:{lease.attempt:064x}"
        if not self.holds(lease):
            with pytest.raises(LeaseLost):
                self.holders.publish(lease, "apps/t/a", digest)
        elif self.cancel_asked:
            with pytest.raises(Cancelled):
                self.holders.publish(lease, "apps/t/a", digest)
        else:
            self.holders.publish(lease, "apps/t/a", digest)
            self.lapsed = False
            assert self.records.tag_target("apps/t/a") == digest

    @rule(lease=leases, end=st.sampled_from([State.SUCCEEDED, State.FAILED, State.CANCELLED]))
    def finish(self, lease, end):
        write = {
            State.SUCCEEDED: lambda: self.holders.succeed(lease, RESULT),
            State.FAILED: lambda: self.holders.fail(lease, FAILURE),
            State.CANCELLED: lambda: self.holders.cancel(lease),
        }[end]
        if self.holds(lease):
            write()
            self.enters(end)
        else:
            with pytest.raises(LeaseLost):
                write()

    @rule(lease=consumes(leases))
    def give_back(self, lease):
        answer = self.holders.give_back(lease, FAILURE)
        self.released(answer, self.holds(lease))

    @rule()
    def sweep(self):
        may = self.state is State.RUNNING and self.lapsed
        assert self.holders.expired(10) == (["b"] if may else [])
        self.released(self.holders.take_back("b", FAILURE), may)

    def released(self, answer, may):
        if not may:
            assert answer == "stale"
            return
        expected = State.QUEUED
        if self.cancel_asked:
            expected = State.CANCELLED
        elif self.attempt >= ATTEMPTS_MAX:
            expected = State.FAILED
        assert answer == expected
        self.enters(expected)
        self.cancel_asked = False

    @rule()
    def cancel(self):
        assert self.records.cancel("b") is self.state
        if self.state is State.RUNNING:
            self.cancel_asked = True
        elif self.state is State.QUEUED:
            self.enters(State.CANCELLED)

    @invariant()
    def the_record_says_the_same(self):
        if not hasattr(self, "state"):
            return
        build = self.records.get("b")
        assert build.state is self.state
        assert build.attempt == self.attempt
        assert self.records.queued_count() == (self.state is State.QUEUED)
        assert (build.finished_at is not None) == self.state.final
        ttl = self.database.client.ttl(self.database.key("build", "b"))
        assert (ttl > 0) == self.state.final


def test_every_order_of_events_keeps_to_the_table(services):
    StoreMachine.service_settings = services
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )

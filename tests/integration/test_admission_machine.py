"""Admission in generated orders of all that can happen to builds, on a real Redis: `make bench-queue` runs 500.

One of the things that happen is a failover in which the newest writes are lost.
"""

from __future__ import annotations

import json
import os
import uuid
from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from buildfarm.errors import Cancelled, LeaseLost
from buildfarm.model import TRANSITIONS, BuildRequest, Failure, Fault, RunPolicy, State
from buildfarm.queue.messages import check_message, message_template
from buildfarm.queue.names import TASK
from buildfarm.queue.view import Limits
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import Accepted, Admission, AdmissionPolicy, Events, Full, Lease, Leases, Records, open_database
from testkit.builds import repeats
from tests.integration.lost_writes import go_back, remember

SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64)
FAILURE = Failure(code="farm.node", fault=Fault.FARM, phase=None, message="m")
LIMITS = Limits(tenant_running=3, tenant_waiting=6, app_running=1)
AHEAD = 4
TENANTS, APPS = ("t", "u"), ("a", "b", "c")
EXAMPLES = int(os.environ.get("BUILDFARM_TEST_EXAMPLES", repeats(20, 40)))

tenants, apps = st.sampled_from(TENANTS), st.sampled_from(APPS)
classes = st.sampled_from(["interactive", "bulk"])
which = st.integers(0, 50)


class AdmissionMachine(RuleBasedStateMachine):
    """Two tenants with three apps each; what must hold is asked after every step, of the records themselves."""

    service_settings = None

    @initialize()
    def open(self):
        namespace = f"test-{uuid.uuid4().hex[:8]}:"
        self.database = open_database(self.service_settings.model_copy(update={"namespace": namespace}))
        terms = AdmissionPolicy({"interactive": 4, "bulk": 1}, LIMITS, 60, message_template(TASK))
        admission = Admission(self.database, terms)
        self.records = Records(admission)
        self.admission = admission
        self.holders, self.silent = Leases(admission, 3600, 2), Leases(admission, -1, 2)
        self.sweeper = Leases(admission, 0, 2, -3600)  # its doubt ends as soon as it begins
        self.moments = []
        self.lost = False
        self.events = Events(self.database)
        self.ids, self.leases = [], []
        self.admitted = Counter()

    def teardown(self):
        if not hasattr(self, "database"):
            return
        try:
            self.everything_ends_and_nothing_is_left()
        finally:
            keys = list(self.database.client.scan_iter(f"{self.database.namespace}*"))
            if keys:
                self.database.client.delete(*keys)
            self.database.close()

    def everything_ends_and_nothing_is_left(self):
        for _ in range(len(self.ids) * 3 + 1):
            self.silent_nodes_are_found()
            for build in self.builds():
                if build.state is State.QUEUED:
                    lease = self.holders.claim(build.id, "n")
                    if isinstance(lease, Lease):
                        self.holders.fail(lease, FAILURE)
                elif build.state is State.RUNNING:
                    self.holders.fail(self.lease_of(build), FAILURE)
        assert [build for build in self.builds() if not build.state.final] == []
        names = {key.removeprefix(self.database.namespace) for key in self.database.client.scan_iter(
            f"{self.database.namespace}*"
        )}  # fmt: skip
        kept = ("build:", "build.", "builds", "app:", "apps", "trend:", "key:", "started:", "limits", "events", "swept")
        assert [name for name in names if not name.startswith(kept)] == []

    def builds(self):
        return [self.records.get(build_id) for build_id in self.ids]

    def lease_of(self, build):
        """As its holder has it."""
        holder = self.database.client.hget(self.database.key("build", build.id), "holder")
        return Lease(build.id, build.attempt, holder.split()[1])

    def pick(self, number, *states):
        found = [build for build in self.builds() if build.state in states]
        return found[number % len(found)] if found else None

    @rule(tenant=tenants, app=apps, build_class=classes, policy=st.sampled_from(RunPolicy), expires=st.booleans())
    def submit(self, tenant, app, build_class, policy, expires):
        request = BuildRequest(
            tenant=tenant, app=app, source=SOURCE, run_policy=policy, expires_in_seconds=1e-6 if expires else None
        )
        before = {build.id: build.state for build in self.builds()}
        waiting = [build for build in self.builds() if build.state in {State.HELD, State.QUEUED}]
        own = [build for build in waiting if build.request.tenant == tenant]
        answer = self.records.submit(uuid.uuid4().hex, request, f"build.{build_class}.0")
        replaced = [build for build in self.builds() if before[build.id] is not build.state] if own else []
        if isinstance(answer, Full):
            assert len(own) >= LIMITS.tenant_waiting
            assert replaced == []
            return
        self.ids.append(answer.build_id)
        for build in replaced:
            if build.state is State.SUPERSEDED:
                assert (build.request.app, build.superseded_by) == (app, answer.build_id)
                assert RunPolicy.ALL not in {policy, build.request.run_policy}

    @rule(key=st.integers(0, 2))
    def submit_with_a_key(self, key):
        request = BuildRequest(tenant="t", app="a", source=SOURCE, idempotency_key=f"k{key}", run_policy="all")
        answers = [self.records.submit(uuid.uuid4().hex, request, "build.bulk.0") for _ in range(2)]
        accepted = [answer.build_id for answer in answers if isinstance(answer, Accepted)]
        assert len(set(accepted)) <= 1
        self.ids += [build_id for build_id in set(accepted) if build_id not in self.ids]

    @rule(number=which, dies=st.booleans())
    def claim(self, number, dies):
        build = self.pick(number, *State)
        if build is None:
            return
        lease = (self.silent if dies else self.holders).claim(build.id, "n")
        if build.state is State.QUEUED and build.expires_at and not build.attempt:
            assert lease.reason == "expired"
            assert self.records.get(build.id).failure.code == "farm.expired"
        elif isinstance(lease, Lease):
            assert lease.build_id == build.id if build.state is State.QUEUED else build.state is State.SUPERSEDED
            if not dies:
                self.leases.append(lease)
        else:
            assert build.state is not State.QUEUED

    @rule(number=which, succeeds=st.booleans())
    def finish(self, number, succeeds):
        if not self.leases:
            return
        lease = self.leases.pop(number % len(self.leases))
        try:
            self.holders.renew(lease)
            self.holders.fail(lease, FAILURE)
        except Cancelled:
            asked_by = self.records.get(lease.build_id).superseded_by
            assert self.holders.cancel(lease) is (State.SUPERSEDED if asked_by else State.CANCELLED)
        except LeaseLost:
            assert self.lost or self.records.get(lease.build_id).attempt > lease.attempt

    @rule(number=which)
    def give_back(self, number):
        if self.leases:
            lease = self.leases.pop(number % len(self.leases))
            assert self.holders.give_back(lease, FAILURE) != "stale" or self.lost

    @rule(number=which)
    def cancel(self, number):
        build = self.pick(number, *State)
        if build:
            assert self.records.cancel(build.id) is build.state

    @rule()
    def silent_nodes_are_found(self):
        self.sweeper.sweep()
        for build_id in self.sweeper.expired(100):
            assert self.sweeper.take_back(build_id, FAILURE) != "stale"

    @rule()
    def time_is_up(self):
        self.admission.expire(100)

    @rule(tenant=tenants, app=st.none() | apps, limit=st.none() | st.integers(1, 5))
    def set_limits(self, tenant, app, limit):
        self.admission.set_limits(tenant, app, {"running": limit})

    @rule()
    def remember(self):
        self.moments.append((remember(self.database), list(self.ids), Counter(self.admitted)))

    @rule(number=which)
    def the_newest_writes_are_lost(self, number):
        if self.moments:
            keys, ids, self.admitted = self.moments[number % len(self.moments)]
            go_back(self.database, keys)
            self.ids, self.lost = list(ids), True

    @invariant()
    def limits_hold_and_nobody_waits_for_nothing(self):
        if not hasattr(self, "ids"):
            return
        builds = self.builds()
        admitted, before = Counter(), self.admitted
        for build in builds:
            if build.state in {State.QUEUED, State.RUNNING}:
                admitted[build.request.tenant] += 1
                admitted[build.request.tenant, build.request.app] += 1
                admitted[build.request.tenant, build.build_class, build.state] += 1
        self.admitted = admitted
        for tenant in TENANTS:
            most = self.admission.limits(tenant).tenant_running
            # A limit that was lowered ends nothing; it only lets no more in.
            assert admitted[tenant] <= max(most, before[tenant])
            for app in APPS:
                app_most = self.admission.limits(tenant, app).app_running
                assert admitted[tenant, app] <= max(app_most, before[tenant, app])
                held = {
                    build.build_class for build in builds
                    if build.state is State.HELD and (build.request.tenant, build.request.app) == (tenant, app)
                }  # fmt: skip
                if admitted[tenant] < most and admitted[tenant, app] < app_most:
                    ahead = {name for name in held if admitted[tenant, name, State.QUEUED] < AHEAD}
                    assert not ahead, (tenant, app, ahead)

    @invariant()
    def what_is_counted_is_there(self):
        if not hasattr(self, "ids"):
            return
        builds = self.builds()
        for row in self.admission.view().classes:
            counted = Counter(build.state for build in builds if build.build_class == row.build_class)
            assert (row.held, row.queued, row.running) == (
                counted[State.HELD],
                counted[State.QUEUED],
                counted[State.RUNNING],
            )
        for build in builds:
            waits = build.state in {State.HELD, State.QUEUED}
            assert (self.admission.queue_position(build) is not None) == waits
            assert (build.state is State.SUPERSEDED) <= (build.superseded_by in self.ids)
            if build.state is State.QUEUED:
                assert build.id in self.messages()
            ttl = self.database.client.ttl(self.database.key("build", build.id))
            assert (ttl > 0) == build.state.final

    def messages(self):
        """Ids of the builds that have a message; nobody consumes them here."""
        found = set()
        for name in ("interactive", "bulk"):
            for queue in (f"build.{name}.0", f"build.{name}.retry"):
                for raw in self.database.client.lrange(self.database.key(queue), 0, -1):
                    message = json.loads(raw)
                    check_message(message)
                    found.add(message["headers"]["id"])
        return found

    @invariant()
    def events_tell_allowed_changes(self):
        if not hasattr(self, "ids"):
            return
        states = {}
        for event in self.events.read("0"):
            before = states.get(event.build)
            if before is None:
                assert event.state in {State.HELD, State.QUEUED}
            else:
                assert event.state in TRANSITIONS[before], (before, event.state)
            states[event.build] = event.state
        assert states == {build.id: build.state for build in self.builds()}


def test_whatever_happens_limits_hold_and_every_build_ends(services):
    AdmissionMachine.service_settings = services
    run_state_machine_as_test(
        AdmissionMachine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )

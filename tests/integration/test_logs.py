"""How much is kept of logs, in generated orders of what can happen to them, and in a Redis that is nearly full."""

from __future__ import annotations

import itertools
import os
import re
import threading
import uuid
from collections import Counter

import pytest
import redis
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

from buildfarm.errors import StoreFullError
from buildfarm.farm import open_farm
from buildfarm.model import BuildRequest, Failure, Fault, Phase, State
from buildfarm.queue.app import make_celery
from buildfarm.queue.messages import message_template
from buildfarm.queue.names import TASK, shard_of
from buildfarm.queue.view import Limits
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import Admission, AdmissionPolicy, Lease, Leases, LogBounds, Logs, Records, open_database
from testkit.builds import repeats
from verify.queue.small_redis import small_redis

SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64)
FAILURE = Failure(code="farm.node", fault=Fault.FARM, phase=None, message="m")
LOG_COST, LINE_COST = 5120, 64
EXAMPLES = int(os.environ.get("BUILDFARM_TEST_EXAMPLES", repeats(15, 30)))
TENANTS = ("t", "u", "v")
BOUNDS = LogBounds(head=600, tail=3000, tenant=22_000, farm=40_000, kept_seconds=3600)
EACH = 20_000  # half of all
TERMS = AdmissionPolicy(
    {"interactive": 1}, Limits(tenant_running=50, tenant_waiting=50, app_running=50), 60, message_template(TASK)
)
MARK = re.compile(r"\[(\d[\d,]*|Lines)(?: lines)? are missing here: ")

which = st.integers(0, 50)
BATCHES = itertools.count(1)


class LogMachine(RuleBasedStateMachine):
    """Builds of three tenants, whose logs are larger than what is kept; each has a reader that looks now and then."""

    service_settings = None

    @initialize()
    def open(self):
        namespace = f"test-{uuid.uuid4().hex[:8]}:"
        self.database = open_database(self.service_settings.model_copy(update={"namespace": namespace}))
        admission = Admission(self.database, TERMS)
        self.records, self.leases = Records(admission), Leases(admission, 3600, 3)
        self.logs = Logs(self.database, 50_000, BOUNDS, look_seconds=0, recount_seconds=0)
        self.aged = Logs(self.database, 50_000, LogBounds(kept_seconds=-1), look_seconds=0, recount_seconds=0)
        self.open_builds: list[Lease] = []
        self.ended: list[str] = []
        self.written: dict[str, int] = {}
        self.tenants: dict[str, str] = {}
        self.read: dict[str, list] = {}

    def teardown(self):
        if not hasattr(self, "database"):
            return
        try:
            for lease in self.open_builds:
                self.leases.fail(lease, FAILURE)
            self.aged.look_after()
            assert [key for key in self.keys() if "log" in key] == ["logs"] * self.has_dropped
        finally:
            keys = list(self.database.client.scan_iter(f"{self.database.namespace}*"))
            if keys:
                self.database.client.delete(*keys)
            self.database.close()

    def keys(self):
        found = self.database.client.scan_iter(f"{self.database.namespace}*")
        return [key.removeprefix(self.database.namespace) for key in found]

    @property
    def has_dropped(self):
        return bool(self.logs.kept_bytes()[1])

    @rule(tenant=st.sampled_from(TENANTS))
    def start(self, tenant):
        build_id = uuid.uuid4().hex
        self.records.submit(build_id, BuildRequest(tenant=tenant, app="a", source=SOURCE), "build.interactive.0")
        self.open_builds.append(self.leases.claim(build_id, "n"))
        self.written[build_id], self.read[build_id], self.tenants[build_id] = 0, [], tenant

    @precondition(lambda self: self.open_builds)
    @rule(number=which, lines=st.integers(1, 8), size=st.sampled_from([0, 10, 100, 700]))
    def write(self, number, lines, size):
        lease = self.open_builds[number % len(self.open_builds)]
        first = self.written[lease.build_id]
        texts = [f"{first + n} {'é' * size}" for n in range(lines)]
        self.logs.append(lease, Phase.COMPILE, texts, next(BATCHES))
        self.written[lease.build_id] += lines

    @precondition(lambda self: self.open_builds)
    @rule(number=which, again=st.booleans())
    def end(self, number, again):
        lease = self.open_builds.pop(number % len(self.open_builds))
        if again and self.leases.give_back(lease, FAILURE, counts=False) == State.QUEUED:
            self.open_builds.append(self.leases.claim(lease.build_id, "n"))
        else:
            self.leases.fail(lease, FAILURE) if not again else None
            self.ended.append(lease.build_id)

    @rule(number=which, limit=st.integers(1, 5))
    def follow(self, number, limit):
        """A reader goes on where it was."""
        if self.read:
            build_id = list(self.read)[number % len(self.read)]
            seen = self.read[build_id]
            seen += self.logs.read(build_id, seen[-1].position if seen else "0", limit=limit)

    @rule()
    def time_passes(self):
        self.aged.look_after()
        for build_id in self.ended:
            self.written.pop(build_id), self.read.pop(build_id)
        self.ended.clear()

    @rule(tenant=st.sampled_from(TENANTS), by=st.integers(-100_000, 100_000))
    def a_sum_goes_wrong(self, tenant, by):
        self.database.client.hincrby(self.database.key("logs"), tenant, by)
        while self.logs.look_after()[1]:
            pass

    @invariant()
    def sums_are_right(self):
        if not hasattr(self, "database"):
            return
        sums = Counter()
        for build_id, tenant in self.tenants.items():
            for key in (
                self.database.key("build", build_id, "log"),
                self.database.key("build", build_id, "log", "tail"),
            ):
                entries = self.database.client.xrange(key)
                sums[tenant] += sum(len(fields["t"].encode()) + LINE_COST for _, fields in entries)
        for member in self.members():
            sums[member.split(" ")[0]] += LOG_COST
        told = {name: int(value) for name, value in self.database.client.hgetall(self.database.key("logs")).items()}
        told.pop("*dropped", None)
        assert told.pop("*", 0) == sum(sums.values())
        assert told == {tenant: value for tenant, value in sums.items() if value}

    def members(self):
        return [
            member
            for name in ("open", "ended")
            for member in self.database.client.zrange(self.database.key("logs", name), 0, -1)
        ]

    @invariant()
    def bounds_hold(self):
        if not hasattr(self, "database"):
            return
        kept = self.database.client.hgetall(self.database.key("logs"))
        running = Counter(lease.build.request.tenant for lease in self.open_builds)
        for tenant in TENANTS:
            assert int(kept.get(tenant, 0)) <= max(EACH, LOG_COST * running[tenant])
        assert int(kept.get("*", 0)) <= max(BOUNDS.farm, LOG_COST * running.total())

    @invariant()
    def every_line_is_shown_or_marked_as_missing(self):
        for build_id, written in getattr(self, "written", {}).items():
            lines = self.logs.read(build_id)
            assert [self.logs.tail(build_id, most) for most in (1, 3, 1000)] == [lines[-1:], lines[-3:], lines]
            numbers, missing = numbers_of(lines)
            assert len(numbers) + missing == written
            shown = numbers_of(self.read[build_id])[0]
            assert shown == sorted(set(shown))
            assert_gaps_are_marked(self.read[build_id])
            assert_gaps_are_marked(lines)


def numbers_of(lines):
    """The numbers of lines, and how many are marked as missing."""
    marks = [match[1].replace(",", "") for line in lines if (match := MARK.match(line.text))]
    return [int(line.text.split(" ")[0]) for line in lines if not MARK.match(line.text)], sum(
        int(mark) for mark in marks if mark != "Lines"
    )


def assert_gaps_are_marked(lines):
    expected, is_marked = 0, False
    for line in lines:
        if MARK.match(line.text):
            is_marked = True
            continue
        number = int(line.text.split(" ")[0])
        assert (number != expected) == is_marked, [line.text[:40] for line in lines]
        expected, is_marked = number + 1, False


def test_whatever_happens_sums_are_right_and_gaps_are_marked(services):
    LogMachine.service_settings = services
    run_state_machine_as_test(
        LogMachine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.fixture
def leases(farm):
    return Leases(farm.admission, 9, 3)


def start(farm, leases, tenant="t", app="a"):
    return leases.claim(farm.submit(BuildRequest(tenant=tenant, app=app, source=SOURCE)).id, "n")


def test_who_waits_for_more_lines_learns_of_the_end_at_once(farm, leases):
    lease = start(farm, leases)
    waits = threading.Thread(target=farm.log_streams.read, args=(lease.build_id,), kwargs={"wait_seconds": 4.5})
    waits.start()
    leases.fail(lease, FAILURE)
    waits.join(4)  # it waits for longer if nobody wakes it
    assert not waits.is_alive()
    # Who comes later does not wait either, and the farm forgets it soon.
    assert farm.log_streams.read(lease.build_id, wait_seconds=4.5) == []
    assert 0 < farm.database.client.ttl(farm.database.key("build", lease.build_id, "end")) <= 10


def test_a_log_keeps_its_beginning_and_its_end(farm, leases):
    lease = start(farm, leases)
    logs = Logs(farm.database, 10**9, LogBounds(head=1000, tail=6400))
    for number in range(100):
        logs.append(lease, Phase.COMPILE, [f"{number:036}"] * 10, next(BATCHES))
    texts = [line.text for line in logs.read(lease.build_id)]
    assert [int(text) for text in texts[:10]] == [0] * 10
    assert texts[10] == "[926 lines are missing here: they were dropped to keep logs within their bounds]"
    assert [int(text) for text in texts[-64:]] == [93] * 4 + [number for number in range(94, 100) for _ in range(10)]
    lines = logs.read(lease.build_id)
    for most in (1, 64, 65, 70):
        assert logs.tail(lease.build_id, most) == lines[-most:]
        assert logs.tail(lease.build_id, most, lines[-3].position) == lines[-2:][-most:]


@pytest.mark.parametrize("limit", [1, 5, 7, 1000])
def test_a_reader_passes_from_the_beginning_to_the_end_without_a_loss(farm, leases, limit):
    lease = start(farm, leases)
    logs = Logs(farm.database, 10**9, LogBounds(head=5 * (LINE_COST + 2)))
    logs.append(lease, Phase.COMPILE, [f"{number:02}" for number in range(20)], next(BATCHES))
    seen = []
    while lines := logs.read(lease.build_id, seen[-1].position if seen else "0", limit=limit):
        seen += lines
    assert [int(line.text) for line in seen] == list(range(20))


def test_the_oldest_ended_log_goes_first_and_says_so(farm, leases):
    logs = Logs(farm.database, 10**9, LogBounds(tenant=50_000))
    ids = []
    for number in range(8):
        lease = start(farm, leases, app=f"a{number}")
        logs.append(lease, Phase.COMPILE, ["x" * 3000] * 2, next(BATCHES))
        leases.fail(lease, FAILURE)
        ids.append(lease.build_id)
    kept = [[line.text[:5] for line in logs.read(build_id)] for build_id in ids]
    assert kept == [["[2 li"]] * 4 + [["xxxxx"] * 2] * 4
    assert logs.kept_bytes() == (4 * (LOG_COST + 2 * 3064), 4 * (LOG_COST + 2 * 3064))


def test_a_log_of_an_older_version_that_was_ended_by_it_is_kept_and_counted(farm, leases):
    lease = start(farm, leases)
    logs = Logs(farm.database, 10**9, look_seconds=0, recount_seconds=0)
    logs.append(lease, Phase.COMPILE, ["line"], next(BATCHES))
    record = farm.database.key("build", lease.build_id)
    farm.database.client.hset(record, "state", "failed")
    farm.database.client.expire(f"{record}:log", 60)
    logs.look_after()
    assert farm.database.client.ttl(f"{record}:log") == -1
    assert farm.database.client.zcard(farm.database.key("logs", "ended")) == 1


@pytest.fixture(scope="module")
def small(services):
    """A farm on a Redis of 32 MB."""
    with small_redis("32mb") as url:
        own = services.model_copy(update={"redis_url": type(services.redis_url)(url), "namespace": "small:"})
        with open_farm(own) as farm:
            yield farm
            farm.database.client.flushall()


def fill(farm, share):
    """Uses Redis's memory up to this share of its limit."""
    client = farm.database.client
    client.delete("ballast")
    while True:
        used = client.info("memory")["used_memory"]
        lacking = int(share * 32 * 2**20 - used)
        if lacking < 20_000:
            return
        try:
            client.rpush("ballast", "x" * min(lacking - 10_000, 200_000))
        except redis.OutOfMemoryError:
            return


def test_submits_are_refused_at_80_percent_and_an_accepted_one_is_found_again(small):
    fill(small, 0.5)
    request = BuildRequest(tenant="t", app="early", source=SOURCE, idempotency_key="k")
    accepted = small.submit(request)
    fill(small, 0.82)
    with pytest.raises(StoreFullError, match=r"accepts no new builds: Redis uses 8\d % of its memory"):
        small.submit(BuildRequest(tenant="t", app="late", source=SOURCE))
    assert small.submit(request).id == accepted.id
    fill(small, 0.7)
    small.submit(BuildRequest(tenant="t", app="late", source=SOURCE))


def test_in_a_redis_that_is_out_of_memory_all_builds_end(small):
    leases = Leases(small.admission, 9, 3)
    fill(small, 0.5)
    first, second, third, fourth = (
        small.submit(BuildRequest(tenant=name, app="a", source=SOURCE)).id for name in ("f", "g", "h", "i")
    )
    client = small.database.client
    fill(small, 1.1)
    client.config_set("maxmemory", client.info("memory")["used_memory"] - 100_000)
    try:
        with pytest.raises(StoreFullError, match=r"Redis at .* is out of memory.*docs/runbooks/redis-memory.md"):
            small.order_buildpacks(["heroku/nodejs"])
        connection = make_celery(small.settings).connection()
        queue = connection.SimpleQueue(shard_of("f", "interactive", small.settings.shards))
        queue.get(timeout=30).ack()
        connection.close()
        held = [leases.claim(build_id, "n") for build_id in (first, second, third)]
        for lease in held:
            leases.renew(lease, Phase.COMPILE)
            small.log_streams.append(lease, Phase.COMPILE, ["a line"] * 100, next(BATCHES))
        assert small.log_streams.kept_bytes()[0] <= 3 * (LOG_COST + 100 * 70)
        leases.fail(held[0], FAILURE)
        small.cancel(second)
        assert leases.cancel(held[1]) is State.CANCELLED
        assert leases.give_back(held[2], FAILURE) == State.QUEUED
        assert small.cancel(fourth) is State.QUEUED
        assert small.cancel(third) is State.QUEUED
        small.log_streams.look_after()
        states = [small.get(build_id).state for build_id in (first, second, third, fourth)]
        assert states == [State.FAILED, *[State.CANCELLED] * 3]
    finally:
        client.config_set("maxmemory", "32mb")


def test_in_a_redis_that_is_nearly_full_logs_do_not_grow(small):
    leases = Leases(small.admission, 9, 3)
    fill(small, 0.5)
    lease = start(small, leases, tenant="grows")
    small.log_streams.append(lease, Phase.COMPILE, ["x" * 1000] * 200, next(BATCHES))
    before = small.log_streams.kept_bytes()[0]
    fill(small, 0.85)
    for _ in range(20):
        small.log_streams.append(lease, Phase.COMPILE, ["y" * 1000] * 200, next(BATCHES))
    assert small.log_streams.kept_bytes()[0] <= before
    assert small.log_streams.read(lease.build_id, limit=10**6)[-1].text[0] in "y["


def test_a_small_redis_gives_a_quarter_to_logs(small):
    leases = Leases(small.admission, 9, 3)
    fill(small, 0.1)
    for tenant in ("a", "b", "c"):
        held = [start(small, leases, tenant, app) for app in ("x", "y", "z")]
        for _ in range(40):
            for lease in held:
                small.log_streams.append(lease, Phase.COMPILE, ["x" * 4000] * 50, next(BATCHES))
        kept = small.database.client.hget(small.database.key("logs"), tenant)
        assert int(kept) <= 4 * 2**20
    assert small.log_streams.kept_bytes()[0] <= 8 * 2**20

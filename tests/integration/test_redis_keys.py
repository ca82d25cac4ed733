"""A farm with everything in it, on a real Redis: each key has a row in docs/redis-keys.md and keeps its bounds."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from buildfarm.access import Audit, AuditEntry, Rates, Tokens
from buildfarm.access.tokens import Scope
from buildfarm.access.webhooks import Delivery, Webhooks
from buildfarm.config_vars.build_variables import BuildVariable
from buildfarm.model import BuildRequest, ImageRequest, Phase, RunPolicy, State
from buildfarm.node import Node, NodeState
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import LayerDigests
from buildfarm.queue.app import make_celery
from buildfarm.queue.names import SUBMIT_QUEUE, SUBMIT_TASK, node_queue
from buildfarm.releases.channels.app_bases import AppBases
from buildfarm.releases.channels.pointers import Pointers
from buildfarm.releases.facts.components.layer import LayerComponents
from buildfarm.releases.facts.components.store import ComponentStore
from buildfarm.releases.facts.layer import LayerFacts
from buildfarm.releases.facts.store import FactsStore
from buildfarm.releases.facts.wanted import Urgency
from buildfarm.releases.models import Rebase
from buildfarm.releases.rebases import Rebases
from buildfarm.releases.rollouts.changes import Announcement, Change
from buildfarm.releases.rollouts.hosts import Hosts
from buildfarm.releases.rollouts.observations import Hold, Holds, Observations
from buildfarm.releases.rollouts.rules.reports import HealthReport, Status
from buildfarm.releases.rollouts.rules.states import App, Rollout
from buildfarm.releases.rollouts.rules.states import Phase as RolloutPhase
from buildfarm.releases.rollouts.store import Rollouts
from buildfarm.releases.signing.adopted import Adopted
from buildfarm.releases.signing.known_bases import KnownBases
from buildfarm.releases.signing.public_keys import SigningKeys
from buildfarm.releases.signing.requests import BuildRequested, SignRequests, TargetRequest
from buildfarm.seal import Seal
from buildfarm.sources.credentials import Kind, NewCredential
from buildfarm.sources.pushes.choose import Wanted
from buildfarm.sources.pushes.event import Kind as PushKind
from buildfarm.sources.pushes.hook import NewHook, Provider
from buildfarm.sources.pushes.state import State as PushState
from buildfarm.store import (
    BuildpackOrder,
    CachedResult,
    KnownLayer,
    KnownLayers,
    Lease,
    LogBounds,
    Logs,
    Nodes,
    ScannedLayers,
    Tags,
    Unclaimed,
)
from buildfarm.store.archive.audit.keeper import AuditKeeper
from buildfarm.store.archive.audit.parts import AuditParts
from buildfarm.store.archive.tally import Tally
from buildfarm.store.keeping.collections import Collections
from buildfarm.store.keeping.push_inbox import PushInbox
from buildfarm.store.keeping.running import ImagesInUse
from buildfarm.store.keeping.usage import Usage
from testkit.archive import FAILURE, SOURCE, Life
from testkit.queue.key_list import ARCHIVE, ARCHIVED, BUILD, EXPIRES, KeyRow, key_rows, rows_of

LONG_SECONDS = 3600  # what ends by itself is there until it was looked at, however slow the machine
ENDED = 300  # builds of which the bytes are measured
ARCHIVED_BYTES_MAX = 200  # of each, in Redis
NOT_SEEN = {"unacked_mutex", "webhooks:due"}  # there for a moment; an older version's
DIGEST = Digest("sha256:" + "c" * 64)
OTHER = Digest("sha256:" + "d" * 64)
MOVE = Rebase(at=1.0, image=DIGEST, previous=DIGEST, base=f"b@{DIGEST}", previous_base=f"b@{DIGEST}", moved=True)
_LENGTH = {"string": "strlen", "hash": "hlen", "list": "llen", "set": "scard", "zset": "zcard", "stream": "xlen"}


class Full:
    """A farm in which everything is that a farm can have."""

    def __init__(self, life: Life) -> None:
        self.life, self.farm = life, life.farm
        self.database, self.client = life.farm.database, life.farm.database.client
        self.open: list[str] = []

    def fill(self) -> None:
        """Builds of every kind, and whatever people and nodes leave in Redis."""
        self.farm.set_limits(self.life.tenant, running=100)
        self._builds_that_end()
        self._signing()
        self._open_builds()
        self._people()
        self._nodes()
        self._registry()
        self._webhooks()
        self._push_hooks()

    def submit(self, app: str, **fields: object) -> str:
        request = BuildRequest(tenant=self.life.tenant, app=app, source=SOURCE, cached_result=False, **fields)
        return self.farm.submit(request).id

    def _builds_that_end(self) -> None:
        life, leases = self.life, self.life.leases
        life.end(env={"TOKEN": "x" * 20}, idempotency_key="once")
        life.end(failed=True, expires_in_seconds=600)
        self.farm.cancel(self.submit("cancelled"))
        older = self.submit("pushed", run_policy=RunPolicy.LATEST_ALWAYS)
        lease = leases.claim(older, "node")
        newest = self.submit("pushed", run_policy=RunPolicy.LATEST_ALWAYS)
        assert leases.cancel(lease) is State.SUPERSEDED
        self.farm.cancel(newest)
        self.submit("late", expires_in_seconds=1e-6)
        assert self.farm.admission.expire(10)
        cached = CachedResult("other", life.result("same"))
        request = BuildRequest(tenant=life.tenant, app="same", source=SOURCE)
        self.farm.records.submit(secrets.token_hex(8), request, "build.interactive.0", cached)
        published = life.begin("published")
        leases.publish(published, f"apps/{life.tenant}/published", life.result("published"))
        leases.succeed(published, life.result("published"), input_digest="d" * 64)
        small = Logs(
            self.database, 50_000_000, LogBounds(head=500, tail=20_000), look_seconds=LONG_SECONDS
        )  # its key stays seen
        long = life.begin("long", lines=0)
        for batch in range(1, 40):
            small.append(long, Phase.COMPILE, ["x" * 500] * 3, batch)
        small.expect(long, "node")
        small.show(long, "half a line")
        leases.fail(long, FAILURE)
        small.sent(long.build_id, 1, "", 0)
        small.look_after()
        image = ImageRequest(image="redis", version="7.2", source=SOURCE)
        self.farm.cancel(self.farm.records.submit(secrets.token_hex(8), image, "build.bulk.1").build_id)

    def _signing(self) -> None:
        """A build that is signed, one that is refused, and one that waits."""
        SigningKeys(self.database).report(["a public key"])
        adopted = Adopted(self.database)
        adopted.take({"apps/t/a": DIGEST})
        adopted.begin()
        KnownBases(self.database).add(f"b@{DIGEST}")
        self._hand_over("signed")
        self.sign()
        self._hand_over("refused")
        assert (request := self.requests.claim())
        assert self.requests.refuse(request, FAILURE, 1) == State.FAILED
        self._hand_over("waits")
        self.requests.ask("apps/t/moved", [b"{}"])
        self.client.rpush(self.database.key("signing:keys"), "a public key of an older signer")
        self.requests.announce(f"apps/{self.life.tenant}/waits")
        assert self.client.expire(self.database.key("signing:soon"), LONG_SECONDS)

    def _hand_over(self, app: str) -> None:
        lease, result = self.life.begin(app), self.life.result(app)
        self.requests.hand_over(lease, f"apps/{self.life.tenant}/{app}", result, documents=[b"{}"])

    @property
    def requests(self) -> SignRequests:
        return SignRequests(self.farm.admission)

    def sign(self) -> None:
        """As the signer does with a build that waits."""
        request = self.requests.claim()
        assert isinstance(request, BuildRequested)
        self.requests.signed(request)
        self.requests.end(request, request.published)
        if isinstance(moved := self.requests.claim(), TargetRequest):
            self.requests.settled(moved)

    def _open_builds(self) -> None:
        self.farm.set_limits(self.life.tenant, "busy", running=2)
        self.open = [
            self.submit("busy", build_class=name, expires_in_seconds=900, run_policy=policy, env={"A": "B"})
            for name in self.farm.settings.classes
            for policy in (RunPolicy.ALL, RunPolicy.LATEST_QUEUED, RunPolicy.ALL)
        ]
        for app, seconds in (("again", 0), ("later", 60)):
            lease = self.life.begin(app)
            self.life.leases.give_back(lease, FAILURE, wait_seconds=seconds)
            self.open.append(lease.build_id)
        self.open.append(self.life.begin("runs", lines=50).build_id)
        self.client.hset(self.database.key("app-bases"), f"{self.life.tenant}/lacks", f"buildfarm/builder@{DIGEST}")
        self.open.append(self.submit("lacks"))
        assert self.life.leases.claim(self.open[-1], "node", bases='{"channels": {}, "has": {}}') == Unclaimed("base")
        self.farm.set_limits(self.life.tenant, running=1)
        self.open += [self.submit("ready"), self.submit("ready")]
        offers = self.database.key(node_queue("node"))
        self.client.lpush(offers, "a message")  # as claim.lua does it
        self.client.expire(offers, LONG_SECONDS)

    def _people(self) -> None:
        farm, tenant = self.farm, self.life.tenant
        tokens = Tokens(self.database)
        text, token = tokens.make(tenant, "ci", [Scope.SUBMIT], 1)
        assert tokens.verify(text)
        tokens.open_session(token)
        Rates(self.database).take("sign-in", "203.0.113.7", 5, LONG_SECONDS)
        entry = AuditEntry(who="ci", token=token.id, tenant=tenant, verb="limits.set", object=tenant, result="done")
        yesterday = int(self.database.now() * 1000) - 86_400_000
        self.client.xadd(self.database.key("audit"), {"entry": "{}", "hash": "f" * 64}, id=f"{yesterday}-0")
        self.client.set(self.database.key("audit", "head"), "f" * 64)
        Audit(self.database).add(entry)
        farm.set_retention(tenant, images=3)
        farm.set_limits(tenant, sizes=["standard"])
        for owner in (None, tenant):
            farm.set_variables({"GOPROXY": BuildVariable(value="off")}, tenant=owner)
        credential = NewCredential(kind=Kind.TOKEN, address="git.example.org", value="a-token-of-a-host")
        farm.set_credential("token", credential, tenant=tenant)
        farm.report_in_use([str(DIGEST)], reporter="host-1")
        BuildpackOrder(self.database).put(["python", "node"])

    def _nodes(self) -> None:
        nodes = Nodes(self.database)
        for name in ("node", "other"):
            nodes.beat(Node(id=name, state=NodeState.READY, slots=2), "interactive bulk")
        self.farm.drain("other")
        pointers = Pointers(self.database)
        for name in ("stable", "next"):
            pointers.set(name, f"buildfarm/builder@{DIGEST}", actor="ada", reason="a fix")
        AppBases(self.database).follow(self.life.tenant, "web", "next")
        # As a rollout does it.
        self.client.hset(self.database.key("app-bases"), f"{self.life.tenant}/web", f"buildfarm/builder@{DIGEST}")
        for duty in ("sweeper", "archivist", "roller", "inspector"):
            assert nodes.lead("node", LONG_SECONDS, duty)
        self.life.leases.sweep()
        self.farm.admission.fail_of_removed_classes(10)
        self.client.hset(self.database.key("kinds"), "bulkXlarge", self.database.now())  # likewise, on a farm of sizes
        self.client.hset(self.database.key("app-sizes"), f"{self.life.tenant}/busy", "large")  # and one that chose one
        self.client.set(self.database.key("confirmed"), 1)  # as Database.run_confirmed does with replicas

    def _registry(self) -> None:
        layers = LayerDigests(digest=DIGEST, diff_id=DIGEST, size_bytes=1, uncompressed_bytes=1)
        KnownLayers(self.database).put("e" * 64, KnownLayer(layers, f"apps/{self.life.tenant}/a"))
        ScannedLayers(self.database, Seal("key")).add(
            f"apps/{self.life.tenant}/a", DIGEST, [str(n) for n in range(300)]
        )
        facts, image = FactsStore(self.database), f"apps/{self.life.tenant}/a@{DIGEST}"
        facts.put(DIGEST, LayerFacts())
        facts.put(DIGEST, LayerFacts(unknown="it is damaged"), failed=True)
        facts.wanted.add(image, Urgency.APP)
        assert facts.wanted.take()
        facts.wanted.put_off(image)
        facts.wanted.done(f"b@{OTHER}", "it is gone")
        facts.wanted.done(f"{image}-damaged", "it is damaged")
        facts.progress.stopped("it is full")
        components = ComponentStore(self.database)
        components.put(DIGEST, LayerComponents.unknown("it is damaged").encode_unread(), of_base=False)
        components.note_image(f"apps/{self.life.tenant}/a", str(DIGEST), f"b@{DIGEST}", [DIGEST])
        components.ask([f"apps/{self.life.tenant}/a"])
        Tags(self.database).mark(f"apps/{self.life.tenant}/published")
        place = f"apps/{self.life.tenant}/published"
        self.client.hset(self.database.key("tags"), place, str(DIGEST))
        assert Rebases(self.database).move(place, MOVE) == MOVE.image
        self._rollouts(place.removeprefix("apps/"))
        Usage(self.database).add(self.life.tenant, "sources", 7)
        Usage(self.database).put_disk(1, 2, LONG_SECONDS)
        ImagesInUse(self.database).sources([str(DIGEST)], {str(DIGEST): str(DIGEST)}, remember=True)
        Tally(self.database).note_damaged(f"{self.life.tenant}/gone {DIGEST}")
        assert self.client.lock(self.database.key("collecting"), timeout=LONG_SECONDS).acquire()  # as a collection does
        Collections(self.database).farm_id()
        Collections(self.database).ended({"manifests": 1, "blobs": 1, "freed_bytes": 1})

    def _rollouts(self, app: str) -> None:
        rollouts, base = Rollouts(self.database), f"b@{DIGEST}"
        draft = Rollout("", 0, "stable", f"b@{OTHER}", base, phase=RolloutPhase.CANARY)
        made = rollouts.add(draft, [App(app)])
        entry = MOVE.model_copy(update={"previous": MOVE.image, "image": OTHER})
        move = Announcement(App(app), entry, base, "x")
        assert rollouts.change(Change(made, replace(made, since=1.0), move=move)) == "done"
        tenant, _, name = app.partition("/")
        report = HealthReport(tenant=tenant, app=name, status=Status.HEALTHY, observed_at=self.database.now())
        assert Observations(self.database).put(str(DIGEST), report)
        Holds(self.database).put(app, Hold(self.database.now() + 60, "x", "ops"))
        Hosts(self.database).report("host", [base], [])

    def _webhooks(self) -> None:
        webhooks = Webhooks(self.database)
        webhooks.put(self.life.tenant, "https://203.0.113.7/", rotate=True)
        for number in range(3):
            webhooks.plan(Delivery(self.life.tenant, f"{number:016x}"), 0)
        [due] = webhooks.due()
        assert webhooks.begin(due) == 1
        self.client.lpush(self.database.key("webhooks"), str(due))
        self.farm.events.join("webhooks")
        self.farm.events.take("webhooks", "member")

    def _push_hooks(self) -> None:
        address = "https://git.example.org/shop/web.git"
        made = self.farm.make_hook(
            NewHook(tenant=self.life.tenant, app="web", provider=Provider.GITEA, repository=address)
        )
        self.farm.push_hooks.note(made.id, "new")
        inbox = PushInbox(self.database)
        pushed = Wanted(key="body 1", kind=PushKind.PUSHED, branch="main", commit="c" * 40)
        assert inbox.accept(made.id, made.tenant, "body 1", [pushed]) == "new"
        assert inbox.save(made.id, 0, PushState(), 0) == 1
        inbox.note_status("0" * 16, hook=made.id, name="shop/web", commit="c" * 40, app="web")
        assert inbox.mark_preview(made.id, self.life.tenant, "web-pr-1")
        inbox.keep_preview(made.id, self.life.tenant, "web-pr-1", self.database.now() + 60)

    def end_all(self) -> None:
        """Every build has ended."""
        self.sign()
        leases = self.life.leases
        self.farm.set_limits(self.life.tenant, running=100)
        for build_id in self.open:
            if self.farm.cancel(build_id) is State.RUNNING:
                held = self.client.hget(self.database.key("build", build_id), "holder")
                attempt, _, token = held.partition(" ")
                leases.cancel(Lease(build_id, int(attempt), token))

    def keys(self) -> dict[str, tuple[str, int]]:
        """Every key without the namespace, its type, and its seconds to live: -1 if it does not expire."""
        found = {}
        for key in self.life.keys("*"):
            pipeline = self.client.pipeline()
            kind, seconds = pipeline.type(key).ttl(key).execute()
            if kind != "none":  # it has just expired
                found[key.removeprefix(self.database.namespace)] = (kind, seconds)
        return found

    def length(self, key: str, kind: str) -> int:
        return int(getattr(self.client, _LENGTH[kind])(self.database.key(key)))

    def size(self, key: str) -> int:
        return int(self.client.memory_usage(self.database.key(key), samples=0) or 0)

    def kept_bytes(self) -> int:
        """Of all keys that neither expire nor have a fixed number of entries."""
        rows = key_rows()
        found = {key: row_of(rows, key) for key in self.keys()}
        return sum(self.size(key) for key, row in found.items() if not row.has(EXPIRES) and row.most is None)


@contextmanager
def a_worker(farm) -> Iterator[None]:
    """A worker that has taken a message and not acknowledged it; another one came to the queue of requests."""
    celery = make_celery(farm.settings)
    with celery, celery.connection_for_read() as connection, connection.channel() as channel:
        queues = [queue(channel) for queue in celery.amqp.queues.values()]
        for queue in queues:
            queue.declare()
        celery.send_task(SUBMIT_TASK, args=({},), queue=SUBMIT_QUEUE)
        taken = next(message for queue in reversed(queues) if (message := queue.get()) is not None)
        yield
        taken.ack()


@pytest.fixture
def full(farm):
    return Full(Life(farm))


def row_of(rows: list[KeyRow], key: str) -> KeyRow:
    found = rows_of(rows, key)
    assert len(found) == 1, f"docs/redis-keys.md has {len(found)} rows for the key {key}"
    return found[0]


def test_every_key_is_listed_and_keeps_its_bound(full, record_property):
    rows, seen = key_rows(), set()

    def look() -> dict[str, tuple[KeyRow, int]]:
        found = {}
        for key, (kind, seconds) in full.keys().items():
            row = row_of(rows, key)
            assert row.type == kind, key
            assert row.most is None or full.length(key, kind) <= row.most, key
            seen.add(row.pattern)
            found[key] = (row, seconds)
        return found

    full.fill()
    with a_worker(full.farm):
        look()
    full.end_all()
    full.life.archive()
    before = full.kept_bytes()
    ids = [full.life.end(f"app-{number % 3}", lines=3, failed=not number % 10) for number in range(ENDED)]
    for key, (row, seconds) in look().items():
        assert not row.has(BUILD), f"{key} is there after every build has ended"
        assert (seconds >= 0) == row.has(EXPIRES), f"{key} expires in {seconds} s"
    assert full.life.archive() == len(ids)
    full.life.archivist.tidy()
    assert AuditKeeper(AuditParts(full.database), full.farm.registry).move() == 1
    found = look()
    assert [key for key, (row, _) in found.items() if row.has(ARCHIVED)] == []
    each = (full.kept_bytes() - before) / ENDED
    record_property("seen", f"{each:.0f} bytes for each archived build")
    assert each <= ARCHIVED_BYTES_MAX
    full.life.keeper(kept=-100).remove_expired()
    AuditKeeper(AuditParts(full.database), full.farm.registry, -1e6).remove_expired()
    look()
    full.life.archivist.tidy()
    assert [key for key, (row, _) in look().items() if row.has(ARCHIVE)] == []
    assert {row.pattern for row in rows} - seen == NOT_SEEN

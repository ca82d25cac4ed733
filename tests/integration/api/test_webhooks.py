"""Ended builds are told: signed, again where nobody listened, and never to an address inside."""

from __future__ import annotations

import base64
import gc
import hashlib
import hmac
import http.server
import json
import queue
import ssl
import threading
import time

import httpcore
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from buildfarm.access.webhooks import Delivery, Webhooks
from buildfarm.api.metrics import ApiMetrics
from buildfarm.api.webhooks.delivery import Deliveries
from buildfarm.api.webhooks.outbound import PrivateAddressError, check_url, parse_networks, post
from buildfarm.errors import NotFoundError, RequestError
from buildfarm.model import BuildRequest
from buildfarm.sources.address import GitSource
from testkit.builds import promised, wait_for
from testkit.serving import serving
from verify.network.slow_clients import trickling

LOOPBACK = parse_networks("127.0.0.0/8")


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers with the statuses it is told, then with 204; keeps what it got."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.put((dict(self.headers), body))  # before its sender is answered, and the test looks
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://169.254.169.254/")
        self.end_headers()

    def log_message(self, *args):
        """Says nothing."""


@pytest.fixture
def receiver():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.got, server.statuses = queue.Queue(), []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}/hook"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ended(farm, tenant="shop"):
    build = farm.submit(BuildRequest(tenant=tenant, app="web", source=GitSource(url="https://x/y"), run_policy="all"))
    farm.cancel(build.id)
    return build.id


def signed_with(secret, headers, body):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers['Webhook-Id']}.{headers['Webhook-Timestamp']}.".encode() + body
    return f"v1,{base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()}"


def test_an_ended_build_is_told_signed_and_again_where_it_failed(module_farm, receiver):
    receiver.statuses = [500]
    with serving(module_farm, BUILDFARM_WEBHOOK_NETWORKS="127.0.0.0/8") as api, api.as_("shop", "submit") as client:
        made = client.put("/v1/webhook", json={"url": receiver.url}).json()
        assert client.get("/v1/webhook").json() == {"url": receiver.url, "secret": None}
        build_id = ended(module_farm)
        (first, body), (second, again) = receiver.got.get(timeout=60), receiver.got.get(timeout=60)
    assert body == again
    assert first["Webhook-Id"] == second["Webhook-Id"] == f"msg_{build_id}"
    assert second["Webhook-Signature"] == signed_with(made["secret"], second, again)
    assert abs(int(second["Webhook-Timestamp"]) - time.time()) < 60
    told = json.loads(body)
    assert (told["type"], told["data"]["id"], told["data"]["state"]) == ("build.cancelled", build_id, "cancelled")


@pytest.fixture
def deliveries(farm):
    return Deliveries(farm, Webhooks(farm.database), ApiMetrics(), LOOPBACK, again_seconds=(0, 0))


def test_two_secrets_sign_while_they_are_changed(deliveries, receiver):
    old = deliveries.webhooks.put("shop", receiver.url, rotate=False).secrets
    new = deliveries.webhooks.put("shop", receiver.url, rotate=True).secrets
    assert new[1:] == old
    planned(deliveries)
    assert next_try(deliveries) == "delivered"
    headers, body = receiver.got.get(timeout=30)
    assert headers["Webhook-Signature"].split() == [signed_with(secret, headers, body) for secret in new]


def test_a_delivery_is_given_up_after_its_tries(deliveries, receiver):
    receiver.statuses = [500, 302, 404]
    deliveries.webhooks.put("shop", receiver.url, rotate=False)
    delivery = planned(deliveries)
    assert [next_try(deliveries) for _ in range(3)] == ["retried", "retried", "given_up"]
    assert deliveries.deliver(delivery) == ""
    assert deliveries.webhooks.due() == []
    assert receiver.got.qsize() == 3


def planned(deliveries, tenant="shop"):
    """A delivery that is due, of a build that has ended."""
    delivery = Delivery(tenant, ended(deliveries.farm, tenant))
    deliveries.webhooks.plan(delivery, 0)
    return delivery


def next_try(deliveries):
    (delivery,) = deliveries.webhooks.due()
    return deliveries.deliver(delivery)


def lose_what_is_out(webhooks, tenant):
    """As if a minute were over."""
    database = webhooks.database
    database.client.zadd(database.key("webhooks", "tenants"), {tenant: 0})


def test_a_tenant_has_one_delivery_out_at_a_time_and_others_do_not_wait_for_it(deliveries):
    webhooks = deliveries.webhooks
    for number in range(3):
        webhooks.plan(Delivery("slow", f"s{number}"), 0)
    webhooks.plan(Delivery("fast", "f0"), 0)
    assert set(webhooks.due()) == {Delivery("slow", "s0"), Delivery("fast", "f0")}
    webhooks.plan(Delivery("fast", "f1"), 0)
    assert webhooks.due() == []
    assert webhooks.begin(Delivery("fast", "f0")) == 1
    assert webhooks.due() == []
    webhooks.done(Delivery("fast", "f0"))
    assert webhooks.due() == [Delivery("fast", "f1")]
    assert webhooks.begin(Delivery("slow", "s0")) == 1
    webhooks.again(Delivery("slow", "s0"), 100)
    assert webhooks.due() == [Delivery("slow", "s1")]


def test_only_one_sender_has_a_delivery(deliveries):
    webhooks, delivery = deliveries.webhooks, Delivery("shop", "b1")
    assert webhooks.begin(delivery) == 0, "it was not handed out"
    webhooks.plan(delivery, 0)
    assert webhooks.due() == [delivery]
    assert [webhooks.begin(delivery), webhooks.begin(delivery)] == [1, 0]
    webhooks.done(delivery)
    assert webhooks.begin(delivery) == 0


def test_a_delivery_whose_sender_was_lost_comes_again_behind_the_tenants_others(deliveries):
    webhooks = deliveries.webhooks
    first, second = Delivery("shop", "b1"), Delivery("shop", "b2")
    webhooks.plan(first, 0)
    webhooks.plan(second, 0)
    assert webhooks.due() == [first]
    assert webhooks.begin(first) == 1
    lose_what_is_out(webhooks, "shop")
    assert webhooks.due() == [second]
    assert webhooks.begin(first) == 0, "its message was taken for lost: the delivery is not out any more"
    webhooks.done(first)  # the sender was only slow
    assert webhooks.due() == []
    assert webhooks.begin(second) == 1
    webhooks.done(second)
    lose_what_is_out(webhooks, "shop")
    assert webhooks.due() == []


def test_no_more_is_handed_out_while_enough_messages_wait(deliveries):
    webhooks = deliveries.webhooks
    for number in range(70):
        webhooks.plan(Delivery(f"t{number}", "b"), 0)
    webhooks.database.client.rpush(webhooks.database.key("webhooks"), *range(30))
    assert len(webhooks.due()) == 20
    webhooks.database.client.rpush(webhooks.database.key("webhooks"), *range(20))
    assert webhooks.due() == []


def test_deliveries_that_an_older_version_planned_are_taken_over(deliveries):
    build_id, database = ended(deliveries.farm), deliveries.farm.database
    database.client.zadd(database.key("webhooks", "due"), {build_id: 1, "gone": 1})
    assert deliveries.webhooks.due() == [Delivery("shop", build_id)]
    assert database.client.exists(database.key("webhooks", "due")) == 0


class Schedule(RuleBasedStateMachine):
    """Any order of plans, hand-outs, tries and losses: one delivery a tenant, none lost, none sent twice at once."""

    webhooks: Webhooks  # set by the test

    def __init__(self):
        super().__init__()
        self.left, self.out, self.sending = set(), {}, set()
        client = self.webhooks.database.client
        for key in client.scan_iter(self.webhooks.database.key("webhooks") + "*"):
            client.delete(key)

    @rule(tenant=st.sampled_from("ab"), build=st.sampled_from("123"))
    def plan(self, tenant, build):
        delivery = Delivery(tenant, tenant + build)
        if delivery not in self.left:
            self.webhooks.plan(delivery, 0)
            self.left.add(delivery)

    @rule()
    def hand_out(self):
        for delivery in self.webhooks.due():
            assert delivery in self.left
            assert delivery.tenant not in self.out
            self.out[delivery.tenant] = delivery

    @rule(tenant=st.sampled_from("ab"))
    def begin(self, tenant):
        if delivery := self.out.get(tenant):
            assert (self.webhooks.begin(delivery) > 0) == (delivery not in self.sending)
            self.sending.add(delivery)

    @rule(tenant=st.sampled_from("ab"), last=st.booleans())
    def end(self, tenant, last):
        delivery = self.out.get(tenant)
        if delivery in self.sending:
            if last:
                self.webhooks.done(delivery)
                self.left.discard(delivery)
            else:
                self.webhooks.again(delivery, 0)
            self.sending.discard(delivery)
            del self.out[tenant]

    @rule(tenant=st.sampled_from("ab"))
    def lose(self, tenant):
        if tenant in self.out:
            lost = self.out.pop(tenant)
            self.sending.discard(lost)
            lose_what_is_out(self.webhooks, tenant)
            database = self.webhooks.database
            database.client.zadd(database.key("webhooks", "due", tenant), {lost.build_id: 0})

    def teardown(self):
        for _ in range(20):
            self.hand_out()
            for delivery in self.out.values():
                assert delivery in self.sending or self.webhooks.begin(delivery)
                self.webhooks.done(delivery)
            self.left -= set(self.out.values())
            self.out, self.sending = {}, set()
        assert not self.left


def test_every_delivery_is_tried_by_one_sender_at_a_time_until_it_is_done(farm):
    Schedule.webhooks = Webhooks(farm.database)
    run_state_machine_as_test(
        Schedule,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.parametrize(
    ("start", "piece"),
    [(b"", b""), (b"H", b"T"), (b"HTTP/1.1 200 OK\r\n", b"x"), (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n")],
    ids=["nothing", "status", "header", "headers"],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_attempt_ends_in_time_whatever_the_receiver_does(scheme, start, piece):
    with trickling(start, piece) as receiver:
        started = time.monotonic()
        with pytest.raises((httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)):
            post(receiver.url.replace("http", scheme, 1), [], b"{}", LOOPBACK, attempt_seconds=0.7)
        assert time.monotonic() - started < promised(1.5)


def test_an_attempt_whose_time_is_over_before_the_handshake_closes_its_connection(monkeypatch):
    ready, certificates = threading.Event(), ssl.create_default_context()
    monkeypatch.setattr("ssl.create_default_context", lambda **_: ready.wait(0.4) or certificates)
    with trickling(b"", b"") as receiver, pytest.raises(httpcore.TimeoutException):
        post(receiver.url.replace("http", "https", 1), [], b"{}", LOOPBACK, attempt_seconds=0.3)
    gc.collect()  # warns of an open one, which fails the test


def test_a_receiver_that_does_not_read_ends_in_time():
    with trickling(b"", b"") as receiver:
        started = time.monotonic()
        with pytest.raises(httpcore.TimeoutException):
            post(receiver.url, [], b"x" * 30_000_000, LOOPBACK, attempt_seconds=0.7)
        assert time.monotonic() - started < promised(1.5)


def test_the_body_of_an_answer_is_not_waited_for():
    with trickling(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n") as receiver:
        started = time.monotonic()
        assert post(receiver.url, [], b"{}", LOOPBACK) == 200
        assert time.monotonic() - started < promised(1)


def test_a_name_whose_look_up_hangs_ends_in_time(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: ended.wait(10) and [])
    started = time.monotonic()
    with pytest.raises(httpcore.TimeoutException):
        post("http://slow.example/", [], b"{}", LOOPBACK, attempt_seconds=0.3)
    ended.set()
    assert time.monotonic() - started < promised(1)


def test_a_receiver_that_trickles_delays_its_own_tenant_only(module_farm, receiver):
    with (
        trickling() as slow,
        serving(module_farm, BUILDFARM_WEBHOOK_NETWORKS="127.0.0.0/8") as api,
        api.as_("slow", "submit") as slow_client,
        api.as_("prompt", "submit") as client,
    ):
        slow_client.put("/v1/webhook", json={"url": slow.url})
        client.put("/v1/webhook", json={"url": receiver.url})
        for _ in range(8):
            ended(module_farm, "slow")
        wait_for(lambda: slow.opened, 30)
        for _ in range(3):
            started = time.monotonic()
            build_id = ended(module_farm, "prompt")
            headers, _ = receiver.got.get(timeout=30)
            assert headers["Webhook-Id"] == f"msg_{build_id}"
            assert time.monotonic() - started < promised(5)  # an attempt ends after 20 s
        assert slow.most_at_once == 1


def test_a_tenant_without_a_webhook_is_told_nothing(deliveries):
    ended(deliveries.farm)
    for event in deliveries.farm.events.read("0"):
        deliveries.plan(event)
    assert deliveries.webhooks.due() == []
    with pytest.raises(NotFoundError):
        deliveries.webhooks.get("shop")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/", "http://[::ffff:127.0.0.1]:1/", "http://0:1/",
        "http://169.254.169.254/latest", "http://10.0.0.1/", "http://192.168.1.1/", "http://100.64.0.1/", "http://[fd00::1]/",
        "http://2130706433/", "http://0x7f.1/", "http://224.0.0.1/",
    ],
)  # fmt: skip
def test_an_address_inside_is_never_reached(url):
    with pytest.raises(PrivateAddressError):
        post(url, [], b"{}", ())


@pytest.mark.parametrize(
    "url", ["ftp://example.org/", "http://user:pass@example.org/", "http:///x", "file:///etc/passwd"]
)
def test_an_address_that_is_no_webhooks_is_refused(url):
    with pytest.raises(RequestError):
        check_url(url)


def test_a_refused_address_ends_the_delivery(farm):
    deliveries = Deliveries(farm, Webhooks(farm.database), ApiMetrics(), ())
    deliveries.webhooks.put("shop", "http://169.254.169.254/", rotate=False)
    delivery = planned(deliveries)
    assert [next_try(deliveries), deliveries.deliver(delivery)] == ["refused", ""]

"""Ended builds are told: signed, again where nobody listened, and never to an address inside."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import queue
import threading
import time

import pytest

from buildfarm.api.deliveries import Deliveries
from buildfarm.api.metrics import ApiMetrics
from buildfarm.api.outbound import PrivateAddressError, check_url, parse_networks, post
from buildfarm.errors import NotFoundError, RequestError
from buildfarm.model import BuildRequest, GitSource
from buildfarm.store.webhooks import Webhooks
from verify.serving import serving

LOOPBACK = parse_networks("127.0.0.0/8")


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers with the statuses it is told, then with 204; keeps what it got."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://169.254.169.254/")
        self.end_headers()
        self.server.got.put((dict(self.headers), body))

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
        (first, body), (second, again) = receiver.got.get(timeout=20), receiver.got.get(timeout=30)
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
    build_id = ended(deliveries.farm)
    deliveries.webhooks.plan(build_id, 0)
    assert deliveries.deliver(build_id) == "delivered"
    headers, body = receiver.got.get(timeout=5)
    assert headers["Webhook-Signature"].split() == [signed_with(secret, headers, body) for secret in new]


def test_a_delivery_is_given_up_after_its_tries(deliveries, receiver):
    receiver.statuses = [500, 302, 404]
    deliveries.webhooks.put("shop", receiver.url, rotate=False)
    build_id = ended(deliveries.farm)
    deliveries.webhooks.plan(build_id, 0)
    assert [deliveries.deliver(build_id) for _ in range(4)] == ["retried", "retried", "given_up", ""]
    assert receiver.got.qsize() == 3


def test_what_is_due_is_given_out_once(deliveries):
    deliveries.webhooks.plan("b1", 0)
    assert deliveries.webhooks.due() == ["b1"]
    assert deliveries.webhooks.due() == []


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
    build_id = ended(farm)
    deliveries.webhooks.plan(build_id, 0)
    assert [deliveries.deliver(build_id), deliveries.deliver(build_id)] == ["refused", ""]

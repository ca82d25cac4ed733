"""Clients and receivers that hold the API's connections open and hardly send: other tenants must not notice."""

from __future__ import annotations

import http.server
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from buildfarm.access import Scope, Tokens
from buildfarm.model import BuildRequest
from buildfarm.sources.address import GitSource
from testkit.serving import serving
from tests.hostile.arena import Arena
from tests.hostile.attack import Outcome, attack
from verify.network.slow_clients import answered, slowest, stalled_uploads, trickling

UPLOADS = 200
TOKENS = 50
READ_SECONDS = 1.0
SLOW_BUILDS = 20
ROUNDS = 5
ARRIVES_SECONDS = 5.0


@attack(f"{UPLOADS} uploads that stall: /healthz and another token's reads answer within {READ_SECONDS:g} s")
def stalled_clients(arena: Arena) -> Outcome:
    wanted = frozenset({Scope.SUBMIT})
    tokens = [Tokens(arena.farm.database).make("stall", f"s{number}", wanted, 1)[0] for number in range(TOKENS)]
    with serving(arena.farm) as api, api.as_("calm", "read") as calm, stalled_uploads(api, tokens, UPLOADS) as uploads:
        times = {
            "/healthz": slowest(lambda: calm.get("/healthz"), 204, 3),
            "/readyz": slowest(lambda: calm.get("/readyz"), 200, 3),
            "/v1/builds": slowest(lambda: calm.get("/v1/builds"), 200, 3),
        }
        statuses = answered(uploads)
    told = ", ".join(f"{path} {seconds:.2f} s" for path, seconds in times.items())
    held = UPLOADS - len(statuses)
    refused = set(statuses) <= {429, 503}
    good = refused and 0 < held <= arena.farm.settings.api_uploads_max and max(times.values()) < READ_SECONDS
    return f"at most {told}; {held} uploads held, {len(statuses)} refused", good


@attack(
    f"a webhook receiver that trickles byte by byte: other tenants' arrive within {ARRIVES_SECONDS:g} s, and it "
    "has one connection at a time"
)
def trickling_receiver(arena: Arena) -> Outcome:
    with (
        _receiver() as (url, arrived),
        trickling() as slow,
        serving(arena.farm, BUILDFARM_WEBHOOK_NETWORKS="127.0.0.0/8") as api,
        api.as_("slow", "submit") as slow_client,
        api.as_("calm", "submit") as calm,
    ):
        slow_client.put("/v1/webhook", json={"url": slow.url})
        calm.put("/v1/webhook", json={"url": url})
        for _ in range(SLOW_BUILDS):
            _ended(arena, "slow")
        deadline = time.monotonic() + 10
        while not slow.opened:
            assert time.monotonic() < deadline, "the slow receiver was never reached: this would prove nothing"
            time.sleep(0.05)
        longest = max(_delivered_after(arena, arrived) for _ in range(ROUNDS))
    told = f"at most {longest:.1f} s over {ROUNDS} webhooks; {slow.most_at_once} connection at a time to the slow one"
    return told, longest < ARRIVES_SECONDS and slow.most_at_once == 1


def _ended(arena: Arena, tenant: str) -> str:
    source = GitSource(url="https://example.org/a.git")
    build = arena.farm.submit(BuildRequest(tenant=tenant, app="web", source=source, run_policy="all"))
    arena.farm.cancel(build.id)
    return build.id


def _delivered_after(arena: Arena, arrived: queue.Queue[str]) -> float:
    """Seconds from the end of a build until its webhook arrives; infinite if it does not."""
    build_id = _ended(arena, "calm")
    started = time.monotonic()
    try:
        while arrived.get(timeout=2 * ARRIVES_SECONDS) != f"msg_{build_id}":
            pass
    except queue.Empty:
        return float("inf")
    return time.monotonic() - started


@contextmanager
def _receiver() -> Iterator[tuple[str, queue.Queue[str]]]:
    """A receiver that answers at once, and the ids of the webhooks that it got."""
    arrived: queue.Queue[str] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            arrived.put(self.headers["Webhook-Id"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", arrived
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

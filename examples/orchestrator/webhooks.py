"""Receives the farm's webhooks. They only name an app to look at: what it is to run is then read from the farm."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OLD_SECONDS = 300


def is_signed(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether one of these secrets signed the message within the last five minutes (standardwebhooks.com)."""
    sent_at = headers.get("Webhook-Timestamp", "")
    if not sent_at.isdecimal() or abs(now - int(sent_at)) > OLD_SECONDS:
        return False
    content = f"{headers.get('Webhook-Id', '')}.{sent_at}.".encode() + body
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    made = [f"v1,{base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()}" for key in keys]
    signatures = headers.get("Webhook-Signature", "").split()
    return any(hmac.compare_digest(one, other) for one in made for other in signatures)


def app_of(message: Mapping[str, Any]) -> str:
    """The tenant/app that is to run another image now; empty if the message is about something else."""
    data = message["data"]
    if message["type"] == "image.changed":
        return str(data["app"])
    return f"{data['request']['tenant']}/{data['request']['app']}" if message["type"] == "build.succeeded" else ""


@contextmanager
def receiver(port: int, secrets: Sequence[str], wake: Callable[[str], None]) -> Iterator[None]:
    """Listens for the length of the block; each signed message wakes its app."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            signed = is_signed(secrets, dict(self.headers), body, time.time())
            if signed and (app := app_of(json.loads(body))):
                wake(app)
            self.send_response(204 if signed else 401)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()

"""Removing what the farm's services stored, through an engine that takes its time."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import docker
import pytest
from requests.exceptions import ReadTimeout

from localfarm import services

VOLUME = "buildfarm-registry"


@contextmanager
def engine(answer: threading.Event):
    """One that has the volume of the registry and no container; it deletes after ``answer``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            is_volume = self.path.endswith(f"/volumes/{VOLUME}")
            self.reply(200 if is_volume else 404, {"Name": VOLUME} if is_volume else {"message": "no such thing"})

        def do_DELETE(self):
            answer.wait()
            self.reply(204, None)

        def reply(self, status, content):
            body = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield docker.DockerClient(base_url=f"tcp://127.0.0.1:{server.server_port}", version="1.41", timeout=0.2)
    finally:
        answer.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_deleting_a_large_volume_may_take_longer_than_other_calls():
    with engine(answer := threading.Event()) as client:
        threading.Timer(1.0, answer.set).start()
        assert services.remove_services(client, data=True, names=[VOLUME]) == [f"{VOLUME} (data)"]
        assert client.api.timeout == 0.2


def test_it_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(services, "REMOVE_DATA_SECONDS", 0.3)
    with engine(threading.Event()) as client, pytest.raises(ReadTimeout):
        services.remove_services(client, data=True, names=[VOLUME])

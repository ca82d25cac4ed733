"""A build is one trace: the API's and the node's spans meet at a real OTLP/HTTP receiver."""

from __future__ import annotations

import gzip
import http.server
import threading

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from buildfarm.telemetry.traces import ids_of
from testkit.live import live_farm


class Collector(http.server.BaseHTTPRequestHandler):
    """Keeps the spans that it is sent."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = next(one.value.string_value for one in resource.resource.attributes if one.key == "service.name")
            for scope in resource.scope_spans:
                self.server.spans += [(service, span) for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        """Says nothing."""


@pytest.fixture
def collector():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.spans = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("live")
def test_submit_queue_and_phases_are_one_trace(collector):
    with live_farm(BUILDFARM_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}") as farm:
        source, _ = farm.farm.pack(farm.example("static"), "shop")
        with farm.api.as_("shop", "submit") as client:
            body = {"app": "traced", "source": source.model_dump(mode="json"), "cached_result": False}
            build_id = client.post("/v1/builds", json=body, headers={"Idempotency-Key": "t"}).json()["id"]
        farm.farm.wait(build_id, timeout_seconds=60)
    trace, root = ids_of(build_id)
    own = [(service, span) for service, span in collector.spans if int.from_bytes(span.trace_id, "big") == trace]
    names = {(service, span.name) for service, span in own}
    assert ("buildfarm-api", "submit") in names
    assert {("buildfarm-node", name) for name in ("queue", "prepare", "detect", "compile", "export", "publish")} < names
    (whole,) = [span for _, span in own if span.name == "build"]
    assert int.from_bytes(whole.span_id, "big") == root
    assert all(int.from_bytes(span.parent_span_id, "big") == root for _, span in own if span.name != "build")
    queue = next(span for _, span in own if span.name == "queue")
    prepare = next(span for _, span in own if span.name == "prepare")
    assert whole.start_time_unix_nano <= queue.start_time_unix_nano < queue.end_time_unix_nano
    assert queue.end_time_unix_nano <= prepare.start_time_unix_nano + 500_000_000

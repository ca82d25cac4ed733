"""Whatever is pushed into a queue, a real Celery worker drops what it cannot do, says why, and goes on."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
import uuid

import pytest

from buildfarm.model import BuildRequest
from buildfarm.queue.names import SUBMIT_QUEUE
from buildfarm.sources.address import ArtifactSource
from testkit.builds import wait_for

QUEUE = "build.interactive.0"
DIGEST = "sha256:" + "a" * 64

# A node's own worker, less its engine: no build that is queued here is ever run to its end.
WORKER = """
from celery import signals
from buildfarm.farm import open_farm
from buildfarm.queue.app import make_celery
from buildfarm.settings import read_settings
from buildfarm.store import Leases, Unclaimed
from buildfarm.telemetry import logger, set_up_logging
from workers import tasks
from workers.queue import submissions

settings = read_settings()
set_up_logging(settings)
signals.setup_logging.connect(lambda **_: None, weak=False)
with open_farm(settings) as farm:
    leases = Leases(farm.admission, 9, 3)

    class Worker:
        settings = settings

        def build(self, build_id, size=""):
            lease = leases.claim(build_id, "n")
            if isinstance(lease, Unclaimed):
                logger(build=build_id).info("message_dropped", reason=lease.reason)
            else:
                leases.cancel(lease)
                logger(build=build_id).info("build_taken")

    celery = make_celery(farm.settings)
    tasks.register(celery, Worker())
    submissions.register(celery, farm)
    options = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True, "quiet": True}
    celery.Worker(hostname="test", pool="threads", concurrency=1, **options).start()
"""


@pytest.fixture
def worker(farm, tmp_path, monkeypatch):
    monkeypatch.setenv("BUILDFARM_NAMESPACE", farm.settings.namespace)
    monkeypatch.setenv("BUILDFARM_LOG_FORMAT", "json")
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-c", WORKER], stdout=output, stderr=output)
    try:
        yield process, log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def push(farm, raw, queue=QUEUE):
    farm.database.client.lpush(farm.database.key(queue), raw)


def envelope(args, task="buildfarm.build", task_id="4f2c", queue=QUEUE, **headers):
    return json.dumps(
        {
            "body": base64.b64encode(json.dumps([args, {}, {}]).encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "go", "task": task, "id": task_id, **headers},
            "properties": {
                "delivery_tag": uuid.uuid4().hex,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "body_encoding": "base64",
                "priority": 0,
            },
        }
    )


def test_the_worker_goes_on_after_anything(farm, worker):
    process, log = worker
    bad = {
        "it is not JSON": b"\x80\x04pickle",
        "it is not a JSON object": b"[1]",
        "it has no headers": b"{}",
        "its body cannot be decoded": json.dumps({**json.loads(envelope(["x"])), "body": "!"}),
        "its body is not JSON in UTF-8": json.dumps({**json.loads(envelope(["x"])), "content-type": "a/pickle"}),
        "Received unregistered task of type 'rm'": envelope(["x"], task="rm"),
        "invalid ETA value": envelope(["x"], eta="tomorrow"),
        "the header timelimit is not supported": envelope(["x"], timelimit="x"),
        "it names no build": envelope([{"no": "id"}]),
        "unknown": envelope(["no-such-build"]),
    }
    for raw in bad.values():
        push(farm, raw)
    source = ArtifactSource(repository="sources/t", digest=DIGEST)
    build = farm.submit(BuildRequest(tenant="t", app="a", source=source))
    ended = farm.wait(build.id, timeout_seconds=60)
    push(farm, envelope(["last"]))
    wait_for(lambda: '"last"' in log.read_text(), 60, log.read_text)
    told = log.read_text()
    assert process.poll() is None, told
    assert ended.state == "cancelled"
    assert [reason for reason in bad if reason not in told] == []


def test_a_request_that_comes_as_a_message_is_built_under_its_own_id(farm, worker):
    _, log = worker
    task_id, refused = uuid.uuid4(), uuid.uuid4()
    request = {"tenant": "t", "app": "go", "source": {"kind": "artifact", "repository": "sources/t", "digest": DIGEST}}
    for content, message in ((request, task_id), (request, task_id), ({**request, "tenant": "T T"}, refused)):
        push(farm, envelope([content], "buildfarm.submit", str(message), SUBMIT_QUEUE), SUBMIT_QUEUE)
    position, events, deadline = "0", [], time.monotonic() + 60
    while not {task_id.hex, refused.hex} <= {
        event.build for event in events if event.state in {"cancelled", "refused"}
    }:
        assert time.monotonic() < deadline, log.read_text()
        events += (found := farm.events.read(position, wait_seconds=4))
        position = found[-1].position if found else position
    states = [event.state for event in events if event.build == task_id.hex]
    assert states == ["queued", "running", "cancelled"]
    assert next(event.reason for event in events if event.build == refused.hex).startswith("tenant: ")
    assert len(farm.recent()) == 1

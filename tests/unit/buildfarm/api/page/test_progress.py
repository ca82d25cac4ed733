"""How far an open build is, on its page."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from buildfarm.api.page import pages
from buildfarm.api.routes import builds
from buildfarm.errors import StoreError
from buildfarm.model import Build, BuildRequest, BuildResult, Phase, State
from buildfarm.oci.digest import Digest
from buildfarm.queue.view import QueuePosition
from buildfarm.sources.address import ArtifactSource
from buildfarm.store.pages import Pages

DIGEST = Digest("sha256:" + "a" * 64)
REQUEST = BuildRequest(tenant="shop", app="web", source=ArtifactSource(repository="sources/shop", digest=DIGEST))
RESULT = BuildResult(
    repository="apps/shop/web", digest=DIGEST, tag="latest", layers=(), uploaded_bytes=0, node="n", attempt=1,
    phase_seconds={Phase.COMPILE: 40.0},
)  # fmt: skip
QUEUED = Build(id="new", request=REQUEST, state=State.QUEUED, submitted_at=0.0)
ENDED = Build(id="old", request=REQUEST, state=State.SUCCEEDED, submitted_at=0.0, result=RESULT)


@contextmanager
def unreachable():
    raise StoreError("Redis cannot be reached.")
    yield


def caller_of(**farm):
    return SimpleNamespace(services=SimpleNamespace(farm=SimpleNamespace(**farm)))


@pytest.fixture
def caller():
    """Of a farm whose archive must not be asked."""
    database = SimpleNamespace(key=lambda *parts: ":".join(parts), failures=unreachable)
    return caller_of(records=SimpleNamespace(database=database))


def test_it_is_told_by_what_redis_has(caller, monkeypatch):
    monkeypatch.setattr(Pages, "page", lambda self, limit, *, tenant, app: ([QUEUED, ENDED], None))
    assert pages._progress(caller, QUEUED) == "usually takes 40 s"
    assert pages._progress(caller, ENDED) == ""


def test_a_history_that_cannot_be_read_does_not_fail_the_page(caller):
    assert pages._progress(caller, QUEUED) == ""


def test_the_answer_to_a_submit_does_not_look_for_the_reason_of_waiting(monkeypatch):
    place = QueuePosition(position=1, wait_seconds=None)
    caller = caller_of(admission=SimpleNamespace(queue_position=lambda build: place))  # no nodes, no standing
    monkeypatch.setattr(builds, "accept", lambda caller, new, key: QUEUED)
    response = SimpleNamespace(headers={})
    found = builds.submit(SimpleNamespace(), response, caller, "key")
    assert found.queue_position == place
    assert response.headers["Location"] == "/v1/builds/new"

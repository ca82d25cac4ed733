"""Pulls of the node's engine from a registry that asks it to come back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from docker.errors import APIError, ImageNotFound

from buildfarm.errors import NodeError, RegistryError
from workers import engine

# As engine 20.10 answers.
TOO_MANY = 'error parsing HTTP 429 response body: unexpected end of JSON input: ""'
UNAVAILABLE = "received unexpected HTTP status: 503 Service Unavailable"


class Client:
    def __init__(self, answers):
        self.answers, self.pulls = list(answers), 0
        self.images = self.api = self

    def get(self, name):
        raise ImageNotFound("no such image")

    def pull(self, name, **options):
        self.pulls += 1
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, str):
            raise APIError(
                f"500 Server Error: {answer}",
                SimpleNamespace(status_code=500, url="http+docker:", reason="Internal"),
                answer,
            )
        return answer


@pytest.fixture(autouse=True)
def waited(monkeypatch):
    seconds = []
    monkeypatch.setattr(engine.time, "sleep", seconds.append)
    return seconds


def pulled(client):
    return engine.pull(client, SimpleNamespace(host="h:1", credentials=None), "builder@sha256:1")


@pytest.mark.parametrize("refusal", [TOO_MANY, UNAVAILABLE, [{"error": "toomanyrequests: later"}]])
def test_a_pull_is_repeated_while_the_registry_asks_for_it(refusal, waited):
    client = Client([refusal, refusal, []])
    assert pulled(client) == "h:1/builder@sha256:1"
    assert client.pulls == 3
    assert len(waited) == 2


def test_a_registry_that_stays_so_is_named():
    client = Client([UNAVAILABLE] * 99)
    with pytest.raises(RegistryError, match=r"could not pull h:1/builder.*503"):
        pulled(client)
    assert client.pulls == 6


def test_the_engines_own_failure_is_the_nodes():
    client = Client(["write /var/lib/docker/tmp/x: no space left on device"])
    with pytest.raises(NodeError, match="no space left"):
        pulled(client)
    assert client.pulls == 1

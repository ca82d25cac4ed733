"""This node's Docker engine: the one client of the process, and its failures as NodeError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
from docker.errors import DockerException
from requests import Response
from requests.exceptions import RequestException

from buildfarm.errors import NodeError

CALL_SECONDS = 60


def open_engine(url: str, *, call_seconds: int = CALL_SECONDS) -> docker.DockerClient:
    """A client of the engine at ``url``, with a deadline on every call. Raises NodeError where none answers."""
    with engine_failures("be reached"):
        client = docker.DockerClient(base_url=url, timeout=call_seconds, max_pool_size=64)
        client.ping()
    return client


@contextmanager
def engine_failures(doing: str) -> Iterator[None]:
    """Turns what the engine's client raises into a NodeError that says what could not be done."""
    try:
        yield
    except (DockerException, RequestException, OSError) as error:
        raise NodeError(f"The node's Docker engine could not {doing}: {error}") from error


@contextmanager
def long_call(
    client: docker.DockerClient, method: str, path: str, *, silence_seconds: float, **options: Any
) -> Iterator[Response]:
    """A call whose answer comes bit by bit, for the length of the block; what it raises is for `engine_failures`.

    The client's own methods for such calls end with its deadline, which is made for short ones.
    """
    url = f"{client.api.base_url}/v{client.api.api_version}{path}"
    deadlines = (CALL_SECONDS, silence_seconds)
    with client.api.request(method, url, stream=True, timeout=deadlines, **options) as response:
        yield response

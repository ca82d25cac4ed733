"""This node's Docker engine: the one client of the process, and its failures as NodeError."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
from docker.errors import DockerException, ImageNotFound
from requests import Response
from requests.exceptions import RequestException

from buildfarm.errors import NodeError, RegistryError
from buildfarm.oci.registry import Registry

CALL_SECONDS = 60
_QUERY = re.compile(r"\?[^\s'\"]+")


def open_engine(url: str, *, call_seconds: int = CALL_SECONDS) -> docker.DockerClient:
    """A client of the engine at ``url``, with a deadline on every call. Raises NodeError if none answers."""
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
        # An address may have secrets in its query: the build arguments of a Dockerfile.
        reason = _QUERY.sub("?…", str(error))
        raise NodeError(f"The node's Docker engine could not {doing}: {reason}") from error


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


def pull(client: docker.DockerClient, registry: Registry, named: str) -> str:
    """The engine's name of the image ``repository@digest`` of the registry, pulled where the engine lacks it.

    Raises NodeError and RegistryError.
    """
    image = f"{registry.host}/{named}"
    with engine_failures(f"find or pull {image}"):
        try:
            client.images.get(image)
        except ImageNotFound:
            _pull(client, image, registry.credentials)
    return image


def _pull(client: docker.DockerClient, image: str, credentials: tuple[str, str] | None) -> None:
    auth = dict(zip(("username", "password"), credentials, strict=True)) if credentials else None
    for step in client.api.pull(image, stream=True, decode=True, auth_config=auth):
        if "error" in step:
            raise RegistryError(f"The node's Docker engine could not pull {image}: {step['error']}")

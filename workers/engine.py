"""This node's Docker engine: the one client of the process, and its failures as NodeError."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from requests import Response
from requests.exceptions import RequestException

from buildfarm.errors import NodeError
from buildfarm.oci.registry import Registry
from buildfarm.oci.retry import UnavailableError, retry

CALL_SECONDS = 60
_QUERY = re.compile(r"\?[^\s'\"]+")
_LATER = re.compile(r"toomanyrequests|HTTP (?:status:? )?(?:429|50[234])\b")  # in what an engine says of a registry
_PULLS_MAX = 6


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
    if not has_image(client, image):
        with engine_failures(f"pull {image}"):
            _pull(client, image, registry.credentials)
    return image


def has_image(client: docker.DockerClient, image: str) -> bool:
    """Whether the engine has it. Raises NodeError."""
    with engine_failures(f"look for {image}"):
        try:
            client.images.get(image)
        except ImageNotFound:
            return False
    return True


def _pull(client: docker.DockerClient, image: str, credentials: tuple[str, str] | None) -> None:
    auth = dict(zip(("username", "password"), credentials, strict=True)) if credentials else None

    def pull() -> None:
        try:
            for step in client.api.pull(image, stream=True, decode=True, auth_config=auth):
                if "error" in step:
                    raise UnavailableError(f"The node's Docker engine could not pull {image}: {step['error']}")
        except APIError as error:
            # An engine gives up where a registry asks it to come back, and answers 500 itself.
            if not _LATER.search(str(error)):
                raise
            raise UnavailableError(f"The node's Docker engine could not pull {image}: {error.explanation}") from error

    retry(pull, attempts=_PULLS_MAX, pause=time.sleep)

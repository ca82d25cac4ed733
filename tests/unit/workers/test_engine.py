"""What the engine's client raises becomes a NodeError without what is in an address's query."""

from __future__ import annotations

import pytest
from requests.exceptions import ConnectionError as RefusedConnection

from buildfarm.errors import NodeError
from workers.engine import engine_failures


def test_build_arguments_in_an_address_are_not_told():
    told = "Max retries exceeded with url: /v1.41/build?buildargs=%7B%22HTTPS_PROXY%22%3A%22canary%22%7D&rm=1 (refused)"
    with pytest.raises(NodeError) as found, engine_failures("build an image"):
        raise RefusedConnection(told)
    assert found.value.message == (
        "The node's Docker engine could not build an image: Max retries exceeded with url: /v1.41/build?… (refused)"
    )

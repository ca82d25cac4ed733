"""The stop signal of an attempt reaches each of its tools that waits for the registry."""

from __future__ import annotations

import socket

import pytest

from buildfarm.errors import NodeStopped
from buildfarm.oci.registry import Registry
from buildfarm.telemetry import logger
from workers.builder import Builders
from workers.buildpacks import PROFILES, BuildpackCache, BuildpackFetcher
from workers.caches import Caches, Copies
from workers.export.exporter import Exporter
from workers.pipeline import AppTools
from workers.sandbox.tool_store import ToolStore


def drained():
    raise NodeStopped("The node was stopped.")


@pytest.mark.parametrize("tool", ["registry", "exporter", "caches", "fetcher"])
def test_a_drain_ends_the_wait_for_a_registry_that_is_away(tmp_path, tool):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with Registry(url, patience_seconds=600) as registry:
        tools = AppTools(
            node_id="n",
            stack="s",
            compile_network=True,
            source_limits=None,
            builders=Builders(None),
            registry=registry,
            workspaces=None,
            sandboxes=None,
            pool=None,
            exporter=Exporter(registry, "gzip", 1, "oci", 1, 1, 1, None),
            caches=Caches(registry, Copies(tmp_path, 1), None, 1, 1, logger()),
            profile=PROFILES["scalingo"],
            fetcher=BuildpackFetcher(registry, BuildpackCache(tmp_path, 1), ToolStore(registry, tmp_path, 0, 0)),
        ).during(drained)
        bound = getattr(tools, tool)
        with pytest.raises(NodeStopped):
            getattr(bound, "registry", bound).ping()

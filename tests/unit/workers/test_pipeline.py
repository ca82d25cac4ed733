"""The stop signal of an attempt reaches each of its tools that waits for the registry."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import pytest

from buildfarm.errors import NodeStopped
from buildfarm.model import Build, BuildRequest, State
from buildfarm.oci.registry import Registry
from buildfarm.sources.address import ArtifactSource
from buildfarm.telemetry import logger
from workers.builder import Builders, Held
from workers.buildpacks import PROFILES, BuildpackCache, BuildpackFetcher
from workers.caches import Caches, Copies
from workers.export.exporter import Exporter
from workers.fetch import SourceLimits
from workers.pipeline import AppTools
from workers.sandbox.pool import SandboxPool
from workers.sandbox.tools.store import ToolStore
from workers.sandbox.workspace import Workspaces

SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64)


def drained():
    raise NodeStopped("The node was stopped.")


def tools_of(registry, folder, builders):
    return AppTools(
        node_id="n",
        compile_network=True,
        source_limits=SourceLimits(1, 1, 1),
        builders=builders,
        registry=registry,
        workspaces=None,
        sandboxes=None,
        pool=SandboxPool(Workspaces(folder, 1, 1), None, 0),
        exporter=Exporter(registry, "gzip", 1, "oci", 1, 1, 1, None),
        caches=Caches(registry, Copies(folder, 1), None, 1, 1, logger()),
        profile=PROFILES["scalingo"],
        fetcher=BuildpackFetcher(registry, BuildpackCache(folder, 1), ToolStore(registry, folder, 0, 0)),
    )


@pytest.mark.parametrize("tool", ["registry", "exporter", "caches", "fetcher"])
def test_a_drain_ends_the_wait_for_a_registry_that_is_away(tmp_path, tool):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with Registry(url, patience_seconds=600) as registry:
        tools = tools_of(registry, tmp_path, Builders(None)).during(drained)
        bound = getattr(tools, tool)
        with pytest.raises(NodeStopped):
            getattr(bound, "registry", bound).ping()


@dataclass(frozen=True)
class Image:
    reference: str
    stack: str = "trixie"


@pytest.mark.parametrize(
    ("claimed", "builder", "channel"),
    [({}, "stable", "stable"), ({"base": "newer", "channel": "next"}, "newer", "next")],
    ids=["without a base", "with one"],
)
def test_an_attempt_has_the_builder_that_its_build_was_claimed_for(tmp_path, claimed, builder, channel):
    registry = Registry("http://127.0.0.1:1")
    builders = Builders(Image("stable"))
    builders.hold(Held({"stable": builders.current, "next": Image("newer", "next-stack")}))
    tools = tools_of(registry, tmp_path, builders)
    request = BuildRequest(tenant="t", app="a", source=SOURCE)
    build = Build(id="b", request=request, state=State.RUNNING, submitted_at=0, **claimed)
    builders.hold(Held({"stable": Image("promoted since")}))
    wanted = "promoted since" if builder == "stable" else builder
    during = tools.during(drained, build)
    assert (during.builder.reference, during.exporter.channel) == (wanted, channel)
    assert during.stack == ("next-stack" if channel == "next" else "trixie")
    builders.hold(Held({"stable": Image("the newest")}))
    assert during.builder.reference == wanted, "to its end"

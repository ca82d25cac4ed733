"""Which tools a build gets: what the builder's program prints is untrusted, and no tool is worth a failed build."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from buildfarm.errors import NodeStopped, RegistryError
from workers.buildpacks.fetcher import BuildpackFetcher
from workers.buildpacks.steps import Steps
from workers.sandbox.container import Ended
from workers.sandbox.tools.store import NoToolError


@dataclass
class Box:
    """A sandbox in which `tools wanted` prints this."""

    prints: bytes
    ran: list = field(default_factory=list)
    said: list = field(default_factory=list)

    def run_part(self, command, *, capture):
        self.ran.append(command)
        return Ended(0, self.prints)

    def log(self, piece):
        self.said.append(piece.decode())


@dataclass
class Store:
    """A node that has every tool, or the reason why not."""

    error: Exception | None = None
    machine: str = "x86_64"
    asked: list = field(default_factory=list)

    def provide(self, name, version):
        self.asked.append((name, version))
        if self.error:
            raise self.error
        return f"{name}/{version}-0123456789ab"


def provided(box, store, *buildpacks, files=()):
    return BuildpackFetcher(None, None, store).provide_tools(buildpacks, set(files).__contains__, Steps(box))


def test_what_a_plan_names_is_provided_once():
    box, store = Box(b"go=1.24.11\ngo=1.24.11\n"), Store()
    assert provided(box, store, "apt", "go") == ("go/1.24.11-0123456789ab",)
    assert store.asked == [("go", "1.24.11")]
    assert box.ran[0][:4] == ["/usr/lib/buildfarm/tools", "wanted", "apt", "go"]
    assert "go=1.24.11" in box.ran[0]
    assert not any(word.startswith("bun=") for word in box.ran[0])


@pytest.mark.parametrize(
    "prints", [b"go=9.9.9\n", b"bun=1.4.5\n", b"go=../../etc\n", b"go\n", b"\xff\0=\n", b"go=1.24.11 x\n", b""]
)
def test_nothing_but_lines_of_the_offer_counts(prints):
    store = Store()
    assert provided(Box(prints), store, "go") == ()
    assert store.asked == []


@pytest.mark.parametrize("buildpacks", [(), ("python",), ("static", "procfile"), ("1-go",)])
def test_buildpacks_without_tools_cost_no_step(buildpacks):
    box = Box(b"go=1.24.11\n")
    assert provided(box, Store(), *buildpacks) == ()
    assert box.ran == []


def test_a_tool_for_apps_with_some_file_is_offered_to_those_alone():
    box, store = Box(b"uv=0.13.8\n"), Store()
    assert provided(box, store, "python", files=["pyproject.toml", "requirements.txt"]) == ()
    assert box.ran == []
    assert provided(box, store, "python", files=["pyproject.toml", "uv.lock"]) == ("uv/0.13.8-0123456789ab",)


@pytest.mark.parametrize(
    "error", [NoToolError("it is not in the registry"), RegistryError("the registry answered 500.")]
)
def test_a_tool_that_is_not_available_is_one_line_of_the_log(error):
    box = Box(b"go=1.24.11\n")
    assert provided(box, Store(error), "go") == ()
    assert box.said == [f"-----> The buildpack fetches go 1.24.11 itself, because {error.message.rstrip('.')}\n"]


def test_a_stopped_node_is_not_a_missing_tool():
    with pytest.raises(NodeStopped):
        provided(Box(b"go=1.24.11\n"), Store(NodeStopped("The node was stopped.")), "go")

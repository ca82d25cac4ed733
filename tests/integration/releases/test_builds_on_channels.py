"""A node builds each app on the base of its channel, or on that of a rollout, and pulls them beside its builds."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from buildfarm.model import State
from buildfarm.oci.manifest import ImageConfig
from buildfarm.releases.channels.pointers import Pointers
from testkit.builds import wait_for, write_files
from testkit.registry.builder import push_patched
from testkit.registry.reading import read_builder

CREATED = "2999-01-01T00:00:00Z"
PAGE = {"index.html": "hello\n"}


@pytest.fixture(scope="module")
def patched(built):
    """The farm's builder with one file more. No channel's tag names it: the registry is everybody's."""
    return push_patched(built.farm.registry, read_builder(built.farm), {"etc/patched": built.tenant}, CREATED)


@pytest.fixture
def command_line(built):
    """``command_line(words)`` is what ``buildfarm`` prints for this farm, where it fails with ``code`` as its error."""

    def run(*words, code=0):
        environment = {**os.environ, "BUILDFARM_NAMESPACE": built.farm.settings.namespace}
        command = [sys.executable, "-m", "buildfarm", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == code, done.stderr
        return done.stderr if code else done.stdout

    return run


def base_of(farm, build):
    """The reference by which the build's image names its base, without the registry, and its digest."""
    assert build.state is State.SUCCEEDED, build.failure
    manifest, _ = farm.registry.read_manifest(build.result.repository, build.result.digest)
    config = ImageConfig.parse(farm.registry.read_blob(build.result.repository, manifest.config.digest))
    labels = config.runtime["Labels"]
    name = labels["org.opencontainers.image.base.name"].removeprefix(f"{farm.registry.host}/")
    return name, labels["org.opencontainers.image.base.digest"]


def waiting(node):
    """The images of the sandboxes that wait for builds, as the engine names them."""
    ask = ["docker", "ps", "--quiet", "--filter", f"label=buildfarm.node={node.id}", "--filter=name=buildfarm-ready-"]
    ids = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split()
    look = ["docker", "inspect", "--format={{.Config.Image}}", *ids]  # one may go meanwhile
    return set(subprocess.run(look, check=False, capture_output=True, text=True).stdout.split())


def test_builds_stand_on_the_base_of_their_app_s_channel(built, patched, tmp_path, record_property):
    farm, tenant, stable = built.farm, built.tenant, built.farm.builder()
    source, _ = farm.pack(write_files(tmp_path, PAGE), tenant)
    Pointers(farm.database).set("next", patched, actor="a test", reason="")
    farm.set_app_channel(tenant, "early", "next")
    # The node does not have the base yet: this one waits a moment, and the other does not wait for it.
    early = built.submit(source=source, app="early")
    other = built.request(source=source, app="other")
    assert (other.attempt, other.channel, other.base) == (1, "stable", stable)
    assert base_of(farm, other) == (f"{stable.partition('@')[0]}:stable", stable.partition("@")[2])
    build = built.ended(early)
    assert (build.attempt, build.channel, build.base) == (1, "next", patched)
    repository, _, digest = patched.partition("@")
    assert base_of(farm, build) == (f"{repository}:next", digest)
    wait_for(lambda: farm.nodes()[0].has(patched), 30, farm.nodes)  # its next heartbeat says so
    [node] = farm.nodes()
    assert (node.has(stable), node.has(patched)) == (True, True)
    record_property("seen", f"built on {len(node.builders)} bases side by side")

    # The same request again is answered by that build; on the other channel it is not.
    assert built.request(source=source, app="early").result_of == build.id
    farm.set_app_channel(tenant, "early", "stable")
    again = built.request(source=source, app="early")
    assert (again.result_of, again.base) == (None, stable)

    # For the builds that come, sandboxes wait.
    for _ in range(3):
        farm.database.client.hset(farm.database.key("app-bases"), f"{tenant}/early", patched)
        chosen = built.request(source=source, app="early", cached_result=False)
        assert (chosen.channel, chosen.base) == ("stable", patched), "a rollout goes before the channel"
    assert base_of(farm, chosen) == (f"{repository}:stable", digest)
    wait_for(lambda: f"{farm.registry.host}/{patched}" in waiting(built.node), 60, lambda: waiting(built.node))


def test_without_a_base_an_app_moves_to_its_channel_s(built, patched, tmp_path):
    farm, tenant, stable = built.farm, built.tenant, built.farm.builder()
    build = built(write_files(tmp_path, PAGE), "moves")
    assert base_of(farm, build)[1] == stable.partition("@")[2]
    Pointers(farm.database).set("next", patched, actor="a test", reason="")
    assert farm.app_image(tenant, "moves").is_current
    farm.set_app_channel(tenant, "moves", "next")
    found = farm.app_image(tenant, "moves")
    assert (found.channel, found.is_current) == ("next", False)
    moved = farm.rebase(tenant, "moves")
    assert moved.base == patched
    found = farm.app_image(tenant, "moves")
    assert (found.base, found.is_current) == (patched, True)
    farm.set_app_channel(tenant, "moves", "stable")
    back = farm.rebase(tenant, "moves", older=True)
    assert (back.base, back.image) == (stable, build.result.digest), "byte for byte the image of the build"


def test_the_commands_show_and_choose_the_same(built, patched, command_line):
    farm, tenant = built.farm, built.tenant
    Pointers(farm.database).set("shown", patched, actor="ada", reason="libssl is patched")
    assert f"shown   {patched}  1 of 1 nodes have it" in command_line("channels", "list")
    shown = command_line("channels", "show", "shown")
    assert shown.startswith(f"base   {patched}\nnodes  1 of 1 have it\n")
    assert shown.endswith(f"UTC  {patched}  by ada: libssl is patched\n")
    told = command_line("apps", "channel", f"{tenant}/told", "shown")
    assert told == f"{tenant}/told follows shown. Its next build stands on {patched}.\n"
    assert json.loads(command_line("apps", "channel", f"{tenant}/told", "--json"))["channel"] == "shown"
    assert "There is no channel beta." in command_line("apps", "channel", f"{tenant}/told", "beta", code=2)
    refused = command_line("channels", "remove", "shown", code=2)
    assert f"The channel shown cannot be removed: {tenant}/told" in refused
    assert "buildfarm channels set stable BASE" in command_line("channels", "remove", "stable", code=2)

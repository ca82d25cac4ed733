"""The builder on every node: pulled once, replaced while builds run, and removed when the disk needs the room."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from buildfarm.model import Phase
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import ImageConfig, Manifest
from testkit.cluster.cluster import wait_for_node
from testkit.cluster.shell import wait


@pytest.mark.fault(
    "a new node with 4 slots starts, and starts again", "it pulls the builder once before its first build"
)
def test_a_node_pulls_the_builder_once(fleet, seen):
    started = int(time.time())
    new = fleet.cluster.add()
    try:
        for _ in range(2):
            new.start_worker(BUILDFARM_SLOTS="4")
            wait_for_node(fleet.farm, new, lambda node: node.accepting)
            pulls = events(new, started, "pull")
            new.kill_worker()
        seen.say(f"{len(pulls)} pull: {pulls[0]['id'][-20:]}")
        assert len(pulls) == 1
    finally:
        new.power_off()
        fleet.cluster.machines.remove(new)


@pytest.mark.fault(
    "another builder is promoted under running builds",
    "they end on the old one; every node gets the new one beside them, and the old one goes when the disk needs room",
)
def test_a_builder_is_promoted(fleet, seen):
    farm, old = fleet.farm, fleet.farm.builder()
    running = fleet.submit("sleep 8")
    machine = fleet.cluster.node(fleet.running(running, Phase.COMPILE).node)
    new = farm.promote_builder(another_builder(farm, old))
    promoted_at = time.monotonic()
    try:
        for one in fleet.cluster.machines:
            wait_for_node(farm, one, lambda node: new.endswith(node.builder), 120)
        seen.say(f"3 nodes ready after {time.monotonic() - promoted_at:.1f} s")
        assert base_of(farm, fleet.succeeded_once(running)) == old
        assert base_of(farm, fleet.succeeded_once(fleet.submit())) == new
        seen.say("the running build stands on the old one, the next on the new one")
        fleet.restart(machine, BUILDFARM_DISK_CLEAN_BYTES=str(10**13))
        digests = lambda: machine.docker("images", "--digests", "--format={{.Digest}}").split()  # noqa: E731
        wait(lambda: digests() == [new.rpartition("@")[2]], lambda: f"left: {digests()}", 30)
        assert not list((machine.disk / "caches").glob("*"))
        seen.say("the old one and the caches are gone from a full disk")
    finally:
        farm.promote_builder(old)
        for one in fleet.cluster.machines:
            wait_for_node(farm, one, lambda node: old.endswith(node.builder), 120)
        fleet.restart(machine)


def events(machine, since, kind):
    """What its engine says that it did with images."""
    ask = ["docker", "--host", machine.docker_url, "events", f"--since={since}", f"--until={int(time.time()) + 1}"]
    ask += ["--filter=type=image", f"--filter=event={kind}", "--format={{json .}}"]
    return [json.loads(line) for line in subprocess.run(ask, capture_output=True, check=True).stdout.splitlines()]


def another_builder(farm, builder):
    """The same builder with another label: a digest that no node has."""
    repository, _, digest = builder.partition("@")
    media_type, content, _ = farm.registry.get_manifest(repository, digest)
    manifest = Manifest.parse(content, media_type)
    config = json.loads(farm.registry.read_blob(repository, manifest.config.digest))
    config["config"]["Labels"]["buildfarm.test"] = str(time.time_ns())
    changed = json.dumps(config).encode()
    farm.registry.put_blob(repository, changed)
    old = json.loads(content)
    old["config"] = {**old["config"], "digest": Digest.of(changed), "size": len(changed)}
    pushed = farm.registry.put_manifest(repository, json.dumps(old).encode(), media_type, tag=None)
    return f"{repository}@{pushed}"


def base_of(farm, build):
    """The builder that an image says it stands on."""
    media_type, content, _ = farm.registry.get_manifest(build.result.repository, build.result.digest)
    config = farm.registry.read_blob(build.result.repository, Manifest.parse(content, media_type).config.digest)
    labels = ImageConfig.parse(config).runtime["Labels"]
    # host/repository:channel
    repository = labels["org.opencontainers.image.base.name"].partition("/")[2].rpartition(":")[0]
    return f"{repository}@{labels['org.opencontainers.image.base.digest']}"

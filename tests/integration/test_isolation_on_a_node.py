"""Network rules, the cut of the network, and a node that refuses work: on a real engine and the node's own iptables."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from contextlib import contextmanager

import pytest

from buildfarm.farm import open_farm
from workers.engine import open_engine
from workers.firewall import Firewall, bridge_of
from workers.local import network
from workers.prewarm import pull
from workers.sandbox import Sandboxes
from workers.spec import SandboxSpec
from workers.workspace import Workspaces

CONNECT = "timeout 3 bash -c '</dev/tcp/pypi.org/443'"


@pytest.fixture
def client(services):
    client = open_engine(services.docker_url)
    yield client
    client.close()


def rules():
    return subprocess.run(["iptables", "-S"], check=True, capture_output=True, text=True).stdout.splitlines()


def test_rules_are_set_twice_as_once_and_taken_away_with_their_network(client):
    before, name = rules(), f"buildfarm-test-{uuid.uuid4().hex[:8]}"
    network.ensure_networks(client, name, lambda _: None)
    try:
        firewall = Firewall(bridge_of(client.api.inspect_network(name)), ("10.0.0.53",))
        assert firewall.obstacle() == ""
        firewall.set()
        once = rules()
        firewall.set()
        assert rules() == once
        jumps = [rule for rule in once if f"-i {firewall.bridge} -j BUILDFARM" in rule]
        assert sorted(rule.split()[1] for rule in jumps) == ["DOCKER-USER", "INPUT"]
        # Somebody takes a jump away: the next turn brings it back.
        subprocess.run(["iptables", "-D", *jumps[0].split()[1:]], check=True)
        firewall.set()
        assert sorted(rules()) == sorted(once)
    finally:
        network.remove_networks(client, name)
    assert rules() == before


def test_a_bridge_that_is_not_here_is_told(client):
    assert "another network namespace" in Firewall("br-000000000000").obstacle()


@contextmanager
def sandbox_of(services, client, directory):
    with open_farm(services) as farm:
        image = pull(client, farm.registry, farm.builder())
    spec = SandboxSpec(
        f"test-{uuid.uuid4().hex[:8]}", services.sandbox_network, 10**9, 1, 256, 1024, services.ca_bundle
    )
    workspaces, name = Workspaces(directory, 10**8, 1000), f"buildfarm-test-{uuid.uuid4().hex[:8]}"
    with workspaces.make(name) as workspace, Sandboxes(client, spec, 60).make(image, name, workspace, {}) as sandbox:
        yield workspace, sandbox


def run(sandbox, command):
    return sandbox.run(["bash", "-c", command], log=lambda _: None, check=lambda: None, capture=True)


def test_a_sandbox_is_cut_off_while_it_runs(services, client, tmp_path):
    with sandbox_of(services, client, tmp_path) as (_, sandbox):
        assert run(sandbox, CONNECT).code == 0
        sandbox.cut_off()
        assert run(sandbox, CONNECT).code != 0
        assert run(sandbox, "echo still here").stdout == b"still here\n"


def test_what_a_step_leaves_in_the_background_ends_no_step_and_survives_no_freeze(services, client, tmp_path):
    with sandbox_of(services, client, tmp_path) as (workspace, sandbox):
        # It holds the step's output open; the step has ended all the same.
        assert run(sandbox, "setsid bash -c 'while true; do date >>/app/alive; sleep 0.05; done' & exit 7").code == 7
        sandbox.kill()
        workspace.freeze()
        with pytest.raises(OSError, match="Read-only"):
            (workspace.app / "alive").write_text("x")


def test_a_node_refuses_work_where_its_sandboxes_would_differ(services, tmp_path):
    environment = {
        **os.environ,
        "BUILDFARM_NODE_ID": f"test-{uuid.uuid4().hex[:8]}",
        "BUILDFARM_NAMESPACE": f"test-{uuid.uuid4().hex[:8]}:",
        "BUILDFARM_WORKSPACE_DIRECTORY": str(tmp_path),
        "BUILDFARM_SANDBOX_NETWORK": services.sandbox_network,
        "BUILDFARM_USER_NAMESPACE_OFFSET": "100000",  # which this engine does not have
        "BUILDFARM_LOG_FORMAT": "json",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "workers"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "would not hold: the engine has no user namespace" in ended.stdout + ended.stderr

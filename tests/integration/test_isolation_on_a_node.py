"""Network rules, the cut of the network, and a node that refuses work: on a real engine and the node's own iptables."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from buildfarm.farm import open_farm
from buildfarm.model import BuildRequest, State
from localfarm import network
from testkit.builds import build_node, builds_network, empty_namespace, gateway_of, wait_for, write_files
from workers.engine import open_engine, pull
from workers.sandbox.container import Sandboxes
from workers.sandbox.firewall import Allowed, Firewall, bridge_of, remove_stale_chains
from workers.sandbox.spec import SandboxSpec
from workers.sandbox.workspace import Workspaces

# A node sets its rules again each second, and trusts them for 4 s: 10 s and 30 s on a farm.
SOON = {"workers.node._CLEAN_SECONDS": 1.0, "workers.sandbox.network_rules.CONFIRMED_SECONDS_MAX": 4.0}
CONNECT = "timeout {} bash -c '</dev/tcp/pypi.org/443'"  # after so many seconds it has failed


def rules(bridge):
    """Those of one bridge: other nodes of this machine change theirs at any time."""
    listed = subprocess.run(
        ["iptables", "--wait", "-S"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return [rule for rule in listed if bridge in rule]


def test_rules_are_set_twice_as_once_and_taken_away_with_their_network(client):
    name = f"buildfarm-test-{uuid.uuid4().hex[:8]}"
    network.ensure_networks(client, name, lambda _: None)
    try:
        firewall = Firewall(bridge_of(client.api.inspect_network(name)), ("10.0.0.53",))
        assert firewall.obstacle() == ""
        firewall.set()
        once = rules(firewall.bridge)
        firewall.set()
        assert rules(firewall.bridge) == once
        jumps = [rule for rule in once if f"-i {firewall.bridge} -j BUILDFARM" in rule]
        assert sorted(rule.split()[1] for rule in jumps) == ["DOCKER-USER", "INPUT"]
        # Somebody takes a jump away: the next turn brings it back.
        subprocess.run(["iptables", "--wait", "-D", *jumps[0].split()[1:]], check=True)
        firewall.set()
        assert sorted(rules(firewall.bridge)) == sorted(once)
    finally:
        network.remove_networks(client, name)
    assert rules(firewall.bridge) == []


def test_a_bridge_that_is_not_here_is_told(client):
    assert "another network namespace" in Firewall("br-000000000000").obstacle()


@contextmanager
def sandbox_of(services, client, directory, steps_ahead=0):
    with open_farm(services) as farm:
        image = pull(client, farm.registry, farm.builder())
    spec = SandboxSpec(
        f"test-{uuid.uuid4().hex[:8]}", services.sandbox_network, 10**9, 1, 256, 1024, services.ca_bundle
    )
    workspaces, name = Workspaces(directory, 10**8, 1000), f"buildfarm-test-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        workspace = stack.enter_context(workspaces.make(name))
        made = Sandboxes(client, spec, 60).make(image, name, workspace, {}, steps_ahead=steps_ahead)
        yield workspace, stack.enter_context(made)


def run(sandbox, command):
    return sandbox.run(["bash", "-c", command], capture=True)


def test_a_sandbox_is_cut_off_while_it_runs(services, client, tmp_path):
    with sandbox_of(services, client, tmp_path) as (_, sandbox):
        assert run(sandbox, CONNECT.format(30)).code == 0
        sandbox.cut_off()
        assert run(sandbox, CONNECT.format(3)).code != 0
        assert run(sandbox, "echo still here").stdout == b"still here\n"


def test_what_a_step_leaves_in_the_background_ends_no_step_and_survives_no_freeze(services, client, tmp_path):
    with sandbox_of(services, client, tmp_path) as (workspace, sandbox):
        # It holds the step's output open; the step has ended all the same.
        assert run(sandbox, "setsid bash -c 'while true; do date >>/app/alive; sleep 0.05; done' & exit 7").code == 7
        app = Path(workspace.app.bind_source)
        (app / "link").symlink_to("alive")
        workspace.freeze(sandbox.kill)
        with pytest.raises(OSError, match="Read-only"):
            (app / "alive").write_text("x")
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            (app / "link").read_bytes()
        assert str((app / "link").readlink()) == "alive"


def never():
    raise AssertionError("nothing is open for writing")


def test_a_workspace_that_nobody_writes_to_is_frozen_beside_a_running_sandbox(services, client, tmp_path):
    with sandbox_of(services, client, tmp_path) as (workspace, sandbox):
        assert run(sandbox, "setsid sleep 60 >/dev/null 2>&1 & echo made >/app/made").code == 0
        workspace.freeze(never)
        assert run(sandbox, "echo more >/app/more").code != 0
        assert sorted(path.name for path in Path(workspace.app.bind_source).iterdir()) == ["made"]


STEPS = {
    "environment": (["env"], b""),
    "words": (["printf", "%s|", "", "a b", "$(id)", "\n", "'\""], b""),
    "input": (["sha256sum"], b"\0\1\2" * 100_000),
    "end": (["bash", "-c", "echo said >&2; exit 9"], b""),
    "end by a signal": (["bash", "-c", "kill -9 $$"], b""),
    "user and folder": (
        ["bash", "-c", "id; pwd; ulimit -a; cat /proc/self/status | grep -E '^(Cap|NoNewPrivs|Seccomp)'"],
        b"",
    ),
}


@pytest.fixture(scope="module")
def two_sandboxes(services, tmp_path_factory):
    """One whose steps are started when they are run, and one where they wait."""
    client = open_engine(services.docker_url)
    with ExitStack() as stack:
        stack.callback(client.close)
        yield [
            stack.enter_context(sandbox_of(services, client, tmp_path_factory.mktemp("steps"), ahead))[1]
            for ahead in (0, len(STEPS))
        ]


@pytest.mark.parametrize("kind", STEPS)
def test_a_step_that_was_started_ahead_is_like_one_that_was_not(two_sandboxes, kind):
    command, given = STEPS[kind]
    ended, logs = [], []
    for sandbox in two_sandboxes:
        log = bytearray()
        step = sandbox.with_variables({"VALUE": "a\nb"}).bound(log.extend, sandbox.check)
        ended.append(step.run(command, stdin=[given], capture=True))
        logs.append(bytes(log))
    plain, ahead = ended
    lines = [
        sorted(line for line in end.stdout.splitlines() if not line.startswith((b"_=", b"SHLVL=", b"uid=")))
        for end in ended
    ]
    assert lines[0] == lines[1]
    assert (plain.code, logs[0]) == (ahead.code, logs[1])


def test_a_step_whose_process_was_ended_while_it_waited_is_replaced(services, client, tmp_path):
    with sandbox_of(services, client, tmp_path, 3) as (_, sandbox):
        assert run(sandbox, "pkill -9 -f 'IFS[=]'; echo first").stdout == b"first\n"
        assert run(sandbox, "echo second").stdout == b"second\n"


def start_node(folder, **variables):
    """A node that is expected to end by itself."""
    environment = {
        **os.environ,
        "BUILDFARM_NODE_ID": f"test-{uuid.uuid4().hex[:8]}",
        "BUILDFARM_NAMESPACE": f"test-{uuid.uuid4().hex[:8]}:",
        "BUILDFARM_WORKSPACE_DIRECTORY": str(folder),
        "BUILDFARM_LOG_FORMAT": "json",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "workers"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_node_refuses_work_where_its_sandboxes_would_differ(services, tmp_path):
    # An offset that this engine does not have.
    ended = start_node(
        tmp_path, BUILDFARM_SANDBOX_NETWORK=services.sandbox_network, BUILDFARM_USER_NAMESPACE_OFFSET="100000"
    )
    assert ended.returncode == 1
    assert "the engine has no user namespace" in ended.stdout + ended.stderr


def test_chains_of_a_bridge_that_is_gone_are_removed_and_others_stay(client):
    name = f"buildfarm-test-{uuid.uuid4().hex[:8]}"
    network.ensure_networks(client, name, lambda _: None)
    firewall = Firewall(bridge_of(client.api.inspect_network(name)))
    try:
        firewall.set()
        assert firewall.bridge not in remove_stale_chains()
        assert firewall.in_force()
        client.networks.get(name).remove()
        assert firewall.bridge in remove_stale_chains()
        assert rules(firewall.bridge) == []
    finally:
        firewall.remove()
        network.remove_networks(client, name)


def test_a_connection_that_was_opened_while_there_were_no_rules_is_cut(services, client, tmp_path):
    gateway = gateway_of(services.sandbox_network)
    firewall = Firewall(bridge_of(client.api.inspect_network(services.sandbox_network)))
    firewall.remove()
    try:
        with sandbox_of(services, client, tmp_path) as (_, sandbox), socket.create_server((gateway, 0)) as server:
            script = f"exec 3<>/dev/tcp/{gateway}/{server.getsockname()[1]}; echo one >&3; read go <&3; echo two >&3"
            step = threading.Thread(target=run, args=(sandbox, f"timeout 20 bash -c '{script}'"))
            step.start()
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                assert connection.recv(100) == b"one\n"
                firewall.set()
                connection.sendall(b"go\n")
                connection.settimeout(4)
                with pytest.raises(TimeoutError):
                    connection.recv(100)
            step.join()
    finally:
        firewall.remove()


FAILING = """#!/bin/sh
[ ! -e "{flag}" ] || {{ echo "no rules today" >&2; exit 4; }}
exec {program} "$@"
"""


@pytest.fixture
def iptables(tmp_path):
    """A folder for PATH whose iptables fail while the file ``flag`` in it is there."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("iptables", "iptables-restore"):
        (folder / name).write_text(FAILING.format(flag=folder / "flag", program=shutil.which(name)))
        (folder / name).chmod(0o755)
    return folder


def test_a_node_whose_rules_cannot_be_confirmed_takes_no_builds_until_they_can(farm, iptables, tmp_path):
    def reason():
        return next(found.reason for found in farm.nodes() if found.id == node.id)

    source, _ = farm.pack(write_files(tmp_path / "site", {"index.html": "x"}), "shop")
    with build_node(farm, constants=SOON, PATH=f"{iptables}:{os.environ['PATH']}") as node:
        (iptables / "flag").touch()
        wait_for(reason, 60, reason)
        assert re.match(r"its network rules were not confirmed for \d+ s: iptables.* no rules today", reason())
        build = farm.submit(BuildRequest(tenant="shop", app="site", source=source))
        before = farm.nodes()[0].seen_at
        wait_for(lambda: farm.nodes()[0].seen_at >= before + 2, 60)  # time enough to take it
        assert farm.get(build.id).state is State.QUEUED
        confirmed = farm.database.now()
        (iptables / "flag").unlink()
        ended = farm.wait(build.id, timeout_seconds=60)
        assert (ended.state, ended.started_at >= confirmed) == (State.SUCCEEDED, True)


def test_two_farms_on_one_engine_keep_their_lists_apart(services, client):
    addresses = {"buildfarm-test-first": "10.1.1.1", "buildfarm-test-second": "10.2.2.2"}
    with ExitStack() as stack:
        bridges = {}
        for name, address in addresses.items():
            stack.enter_context(builds_network(services, name))
            own = services.model_copy(update={"namespace": f"test-{uuid.uuid4().hex[:8]}:", "sandbox_network": name})
            stack.callback(empty_namespace, own)
            farm = stack.enter_context(open_farm(own))
            stack.enter_context(build_node(farm, constants=SOON, BUILDFARM_SANDBOX_ALLOW=f"{address}/32"))
            bridges[name] = Firewall(bridge_of(client.api.inspect_network(name)), allowed=(Allowed(f"{address}/32"),))
        for firewall in bridges.values():
            for chain in firewall.in_force():
                subprocess.run(["iptables", "--wait", "-F", chain], check=True)
        # Both nodes set their rules again.
        wait_for(lambda: all(len(firewall.in_force()) == 2 for firewall in bridges.values()), 60)
        for name, firewall in bridges.items():
            listed = "".join(firewall.in_force().values())
            for other, address in addresses.items():
                assert (f"-d {address}/32 -j RETURN" in listed) == (other == name)


def test_a_node_refuses_a_network_with_ipv6(services, tmp_path):
    name = f"buildfarm-test-{uuid.uuid4().hex[:8]}"
    subprocess.run(["docker", "network", "create", "--ipv6", "--subnet=fd00:77:88::/64", name], check=True)
    try:
        ended = start_node(tmp_path, BUILDFARM_SANDBOX_NETWORK=name)
    finally:
        subprocess.run(["docker", "network", "rm", name], check=True)
    assert ended.returncode == 1
    assert f"The sandboxes' network {name} has IPv6" in ended.stdout + ended.stderr

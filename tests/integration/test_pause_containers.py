"""Sandboxes that get their network from a pause container, one after the other: on a real engine and kernel."""

from __future__ import annotations

import socket
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from buildfarm.farm import open_farm
from testkit.builds import gateway_of
from workers.engine import pull
from workers.sandbox.container import Sandboxes, containers_of
from workers.sandbox.firewall import make_firewall
from workers.sandbox.network import ensure_builds_network
from workers.sandbox.pauses.containers import PauseContainers
from workers.sandbox.spec import SandboxSpec
from workers.sandbox.workspace import Workspaces

CONNECT = "timeout 30 bash -c '</dev/tcp/pypi.org/443'"


def run(sandbox, command):
    return sandbox.run(["bash", "-c", command], capture=True)


@contextmanager
def paused(services, client, directory):
    """Where the sandboxes of one node get their networks, and how to make one: yields both."""
    with open_farm(services) as farm:
        image = pull(client, farm.registry, farm.builder())
    node = f"test-{uuid.uuid4().hex[:8]}"
    spec = SandboxSpec(node, services.sandbox_network, 10**9, 1, 256, 1024, services.ca_bundle)
    pauses, workspaces = PauseContainers(client, spec, 2), Workspaces(directory, 10**8, 1000)

    @contextmanager
    def sandbox():
        name = f"buildfarm-test-{uuid.uuid4().hex[:8]}"
        with ExitStack() as stack:
            workspace = stack.enter_context(workspaces.make(name))
            network = stack.enter_context(pauses.lend(image))
            made = Sandboxes(client, spec, 60).make(image, name, workspace, {}, network=network)
            sandbox = stack.enter_context(made)
            assert spec.differences(client.api.inspect_container(sandbox.container_id), workspace, network) == []
            yield sandbox

    try:
        yield pauses, sandbox
    finally:
        pauses.leave_only(set())
        assert containers_of(client, spec.node_id) == {}


NAMESPACE = "readlink /proc/self/ns/net; hostname"
LISTEN = (
    "python3 -c 'import socket, time; all = [socket.socket(socket.AF_INET, kind) for kind in (1, 2)]; "
    '[each.bind(("0.0.0.0", 7000)) for each in all]; all[0].listen(); '
    'local = socket.socket(socket.AF_UNIX); local.bind("\\0left"); local.listen(); print("listens", flush=True); '
    "time.sleep({})'"
)


def test_a_sandbox_gets_the_network_of_one_that_sent_nothing_and_finds_nothing_in_it(services, client, tmp_path):
    with paused(services, client, tmp_path) as (pauses, sandbox):
        with sandbox() as first:
            namespace = run(first, NAMESPACE).stdout
            assert namespace.endswith(b"build\n")
            left = f"exec 3< <(setsid {LISTEN.format(60)}); read -u 3 said; echo $said; cat /proc/net/unix"
            said = run(first, left).stdout
            assert said.startswith(b"listens\n") and said.count(b"@left") == 1
        with sandbox() as second:
            assert run(second, NAMESPACE).stdout == namespace
            assert b"@left" not in run(second, "cat /proc/net/unix").stdout
            assert run(second, LISTEN.format(0)).stdout == b"listens\n"  # the same ports are free
            assert run(second, CONNECT).code == 0
        assert not pauses.names()


SENDS = {
    "a lookup": "getent hosts pypi.org",
    "a datagram": "echo x >/dev/udp/192.0.2.1/9",
    "a connection to itself": "(echo x >/dev/tcp/127.0.0.1/9) 2>/dev/null; true",
    "a datagram to itself": "echo x >/dev/udp/127.0.0.1/9",
    "one to its own address": "echo x >/dev/udp/$(hostname -i)/9",
    "datagrams to a group that go to no interface": (
        "python3 -c 'import socket; one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        'one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0); one.sendto(b"x", ("224.0.0.1", 9))\''
    ),
    "a label that outlives its socket": (
        "python3 -c 'import socket, struct; one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); "
        'one.setsockopt(41, 32, struct.pack("=16sIBBHHHI", b"SECRET-OF-A-0001", 0, 0, 1, 1, 6, 140, 0))\''
    ),
    "to everybody beside it": "timeout 2 bash -c 'echo x >/dev/tcp/${0%.*}.254/9' $(hostname -i) 2>/dev/null; true",
}


@pytest.mark.parametrize("command", SENDS.values(), ids=SENDS)
def test_a_network_in_which_anything_was_sent_goes_to_nobody(services, client, tmp_path, command):
    with paused(services, client, tmp_path) as (pauses, sandbox):
        with sandbox() as first:
            assert len(pauses.names()) == 1
            assert run(first, command).code == 0
        assert not pauses.names()


@pytest.fixture
def guarded(services, client):
    """The services with another network for sandboxes, and its rules, which are not set yet."""
    name = f"buildfarm-test-{uuid.uuid4().hex[:8]}"
    ensure_builds_network(client, name)
    try:
        firewall = make_firewall(client.api.inspect_network(name), (), (), Path("/etc/resolv.conf"))
        try:
            yield services.model_copy(update={"sandbox_network": name}), firewall
        finally:
            firewall.remove()
    finally:
        client.api.remove_network(name)


def test_the_rules_hold_in_a_network_that_another_sandbox_had(guarded, client, tmp_path):
    settings, firewall = guarded
    gateway = gateway_of(settings.sandbox_network)
    with paused(settings, client, tmp_path) as (_, sandbox), socket.create_server((gateway, 0)) as server:
        reach = f"timeout 3 bash -c '</dev/tcp/{gateway}/{server.getsockname()[1]}'"
        with sandbox() as first:
            namespace = run(first, NAMESPACE).stdout
        with sandbox() as second:
            assert run(second, NAMESPACE).stdout == namespace
            assert run(second, reach).code == 0
            firewall.set()
            assert run(second, reach).code != 0
            assert run(second, CONNECT).code == 0


def test_an_engine_that_lost_a_pause_container_makes_the_next_network(services, client, tmp_path):
    with paused(services, client, tmp_path) as (pauses, sandbox):
        with sandbox():
            [pause] = pauses.names()
        client.api.remove_container(pause, force=True)
        with sandbox() as other:
            assert run(other, CONNECT).code == 0
            assert not pauses.names()


def test_a_ready_sandbox_without_its_network_is_seen(services, client, tmp_path):
    with paused(services, client, tmp_path) as (pauses, sandbox):
        with sandbox() as waits:
            assert pauses.works(waits.network)
            [pause] = pauses.names()
            client.api.disconnect_container_from_network(pause, services.sandbox_network, force=True)
            assert not pauses.works(waits.network)
        assert not pauses.names()

"""Ports for what tests start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from testkit.serving import free_port, lasting_ports


def test_ports_that_last_are_none_that_the_system_gives_to_others():
    first, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    found = lasting_ports(40)
    assert len(set(found)) == 40
    assert all(1024 < port < first for port in found)


def test_no_port_is_given_to_two_tests_that_run_side_by_side(monkeypatch):
    found = []
    for worker in ("gw0", "gw1", "gw2"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        found += [free_port() for _ in range(100)]
    assert len(set(found)) == 300


def test_a_port_that_something_listens_on_is_left_out(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr("testkit.serving._LASTING", [port])
        with pytest.raises(RuntimeError, match="1 ports are needed, and 0 of 1 are free"):
            lasting_ports(1)

"""Ports for what tests start."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from testkit import serving
from testkit.serving import lasting_ports


def test_ports_that_last_are_none_that_the_system_gives_to_others():
    first, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    found = lasting_ports(40)
    assert len(set(found)) == 40
    assert all(1024 < port < first for port in found)


def test_a_port_that_something_listens_on_is_left_out(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr("testkit.serving._LASTING", [port])
        with pytest.raises(RuntimeError, match="1 ports are needed, and 0 of 1 are free"):
            lasting_ports(1)


@pytest.mark.parametrize("own", [True, False], ids=["this process", "another process"])
def test_a_port_that_was_given_out_is_not_given_out_again_before_anything_listens_on_it(monkeypatch, own):
    [port] = lasting_ports(1)
    if own:
        monkeypatch.setattr(serving, "_LASTING", [port])
        with pytest.raises(RuntimeError, match="0 of 1 are free"):
            lasting_ports(1)
        return
    code = f"from testkit import serving; serving._LASTING = [{port}]; serving.lasting_ports(1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "0 of 1 are free" in done.stderr

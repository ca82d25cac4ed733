"""Servers listen on IPv4, on IPv6 and on both."""

from __future__ import annotations

import socket

import pytest

from buildfarm.telemetry.listening import listen


@pytest.mark.parametrize(
    ("host", "reached", "not_reached"),
    [
        ("127.0.0.1", ["127.0.0.1"], ["::1"]),
        ("::1", ["::1"], ["127.0.0.1"]),
        ("::", ["127.0.0.1", "::1"], []),
        ("0.0.0.0", ["127.0.0.1"], ["::1"]),
        ("localhost", ["localhost"], []),
    ],
)
@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_address_is_reached_by_its_own_kind_alone(host, reached, not_reached):
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        for address in reached:
            socket.create_connection((address, port), timeout=5).close()
        for address in not_reached:
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((address, port), timeout=5)


def test_all_addresses_are_those_of_ipv4_where_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listen("::", 0) as listener:
        assert listener.family is socket.AF_INET

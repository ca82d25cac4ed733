"""Network rules as text, and the list of what builds may reach all the same."""

from __future__ import annotations

import pytest

from buildfarm.errors import SetupError
from workers.firewall import Allowed, Firewall, make_firewall, parse_allowed, rules_text

NETWORK = {"Id": "ad205428ac519dd2fce08e26", "Options": {}}


def test_the_chains_refuse_private_networks_and_the_node_itself():
    lines = rules_text(Firewall("br-1", nameservers=("10.0.0.53",))).splitlines()
    assert lines[:3] == ["*filter", ":BUILDFARM-F-br-1 - [0:0]", ":BUILDFARM-I-br-1 - [0:0]"]
    forward = [line for line in lines if line.startswith("-A BUILDFARM-F-br-1 ")]
    into = [line for line in lines if line.startswith("-A BUILDFARM-I-br-1 ")]
    for private in ("10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16", "172.16.0.0/12", "100.64.0.0/10"):
        assert f"-A BUILDFARM-F-br-1 -d {private} -j REJECT --reject-with icmp-admin-prohibited" in forward
    assert into[-1] == "-A BUILDFARM-I-br-1 -j REJECT --reject-with icmp-admin-prohibited"
    # Lookups come before the refusal of the network that their server is in.
    lookup = "-A BUILDFARM-F-br-1 -d 10.0.0.53 -p udp --dport 53 -j RETURN"
    assert forward.index(lookup) < forward.index(
        "-A BUILDFARM-F-br-1 -d 10.0.0.0/8 -j REJECT --reject-with icmp-admin-prohibited"
    )


def test_the_farms_own_addresses_are_refused_before_any_allowance():
    rules = rules_text(Firewall("br-1", allowed=(Allowed("10.0.0.0/8"),), denied=("10.1.1.1",)))
    assert rules.index("-d 10.1.1.1 -j REJECT") < rules.index("-d 10.0.0.0/8 -j RETURN")


def test_a_network_of_the_engine_gives_the_bridge_and_the_farms_addresses(tmp_path):
    (tmp_path / "resolv.conf").write_text("search x\nnameserver 10.0.0.53\nnameserver 127.0.0.53\nnameserver fe80::1\n")
    urls = ("redis://:secret@10.9.9.9:6379/0", "http://127.0.0.1:5000", "https://10.8.8.8")
    made = make_firewall(NETWORK, "10.1.0.0/16:3128", urls, tmp_path / "resolv.conf")
    assert made == Firewall(
        "br-ad205428ac51", ("10.0.0.53",), (Allowed("10.1.0.0/16", 3128),), ("10.8.8.8", "10.9.9.9")
    )


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", ()),
        ("10.1.2.3/32", (Allowed("10.1.2.3/32"),)),
        (" 10.1.2.3:80 , 10.2.0.0/16", (Allowed("10.1.2.3/32", 80), Allowed("10.2.0.0/16"))),
    ],
)
def test_an_allow_list_is_read(text, allowed):
    assert parse_allowed(text) == allowed


@pytest.mark.parametrize("text", ["mirror", "10.1.2.3/33", "10.1.2.3:0", "10.1.2.3:http", "10.1.2.3/8", "::1"])
def test_what_is_no_network_is_named(text):
    with pytest.raises(SetupError, match="BUILDFARM_SANDBOX_ALLOW"):
        parse_allowed(text)

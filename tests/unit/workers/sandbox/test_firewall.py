"""Network rules as text, and the list of what builds may reach all the same."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import SetupError
from workers.sandbox.firewall import Allowed, Firewall, bridges_in, make_firewall, parse_allowed, rules_text
from workers.sandbox.metadata_addresses import METADATA, METADATA_IPV6

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


def test_the_cache_of_packages_is_one_port_of_a_machine_that_is_refused_otherwise():
    lines = rules_text(Firewall("br-1", denied=("10.1.1.1",), downloads=(Allowed("10.1.1.1/32", 8090),))).splitlines()
    # A host whose own rules drop what they do not name, such as those of ufw, lets builds in all the same.
    for chain, target in (("F", "RETURN"), ("I", "ACCEPT")):
        opened = lines.index(f"-A BUILDFARM-{chain}-br-1 -d 10.1.1.1/32 -p tcp --dport 8090 -j {target}")
        refused = f"-A BUILDFARM-{chain}-br-1 -d 10.1.1.1 -j REJECT --reject-with icmp-admin-prohibited"
        metadata = f"-A BUILDFARM-{chain}-br-1 -d 169.254.169.254 -j REJECT --reject-with icmp-admin-prohibited"
        assert lines.index(metadata) < opened < lines.index(refused)
    assert sum("ACCEPT" in line for line in lines) == 1


def test_a_network_of_the_engine_gives_the_bridge(tmp_path):
    (tmp_path / "resolv.conf").write_text("search x\nnameserver 10.0.0.53\nnameserver 127.0.0.53\nnameserver fe80::1\n")
    allowed = (Allowed("10.1.0.0/16", 3128),)
    made = make_firewall(NETWORK, allowed, {"10.9.9.9", "10.8.8.8"}, tmp_path / "resolv.conf")
    assert made == Firewall("br-ad205428ac51", ("10.0.0.53",), allowed, ("10.8.8.8", "10.9.9.9"))


def judged(firewall: Firewall, address: str, protocol: str = "tcp", port: int = 80) -> str:
    """What the chain of forwarded packets does with the first packet of a connection: a small iptables."""
    for line in rules_text(firewall).splitlines():
        words = line.split()
        if words[:2] != ["-A", f"BUILDFARM-F-{firewall.bridge}"] or "--ctdir" in words:
            continue
        asked = dict(zip(words[2::2], words[3::2], strict=True))
        if (
            ipaddress.IPv4Address(address) in ipaddress.IPv4Network(asked.get("-d", "0.0.0.0/0"))
            and asked.get("-p", protocol) == protocol
            and int(asked.get("--dport", port)) == port
        ):
            return asked["-j"]
    return "passes"


@pytest.mark.parametrize("one", METADATA, ids=lambda one: one.address)
@given(prefix=st.integers(0, 31))
def test_no_allowance_opens_a_metadata_address(one, prefix):
    wide = ipaddress.IPv4Network(f"{one.address}/{prefix}", strict=False)
    firewall = Firewall("br-1", allowed=parse_allowed(str(wide)))
    assert judged(firewall, one.address) == "REJECT"
    assert judged(firewall, one.address, port=32526) == "REJECT"


def test_azures_name_server_answers_lookups_and_nothing_else():
    firewall = Firewall("br-1")
    assert {judged(firewall, "168.63.129.16", protocol, 53) for protocol in ("udp", "tcp")} == {"RETURN"}
    assert judged(firewall, "168.63.129.16", "tcp", 80) == "REJECT"
    assert judged(firewall, "168.63.129.16", "udp", 67) == "REJECT"
    assert judged(firewall, "168.63.129.17") == "passes"


def test_a_metadata_address_that_is_the_nodes_name_server_answers_lookups():
    assert judged(Firewall("br-1", nameservers=("169.254.169.254",)), "169.254.169.254", "udp", 53) == "RETURN"


def test_only_answers_pass_unchecked():
    """What a sandbox opened while no rules were set is cut once they are back."""
    passing = [line for line in rules_text(Firewall("br-1")).splitlines() if "ESTABLISHED" in line]
    assert len(passing) == 2
    assert all("--ctdir REPLY" in line for line in passing)


def test_the_security_page_lists_every_metadata_address_with_its_source():
    page = (Path(__file__).parents[4] / "docs/security.md").read_text()
    for one in (*METADATA, *METADATA_IPV6):
        assert f"| `{one.address}` | {one.clouds} | <{one.source}> |" in page


def test_the_bridges_of_chains_are_read_from_a_listing():
    listing = "-N BUILDFARM-F-br-1\n-N BUILDFARM-I-br-1\n-N BUILDFARM-I-br-2\n-N DOCKER\n-A X -j BUILDFARM-F-br-3\n"
    assert bridges_in(listing) == {"br-1", "br-2"}


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


@pytest.mark.parametrize("text", ["169.254.169.254/32", "168.63.129.16:80", "10.0.0.0/8,100.100.100.200"])
def test_an_allowance_for_a_metadata_address_is_refused(text):
    with pytest.raises(SetupError, match="is a metadata address"):
        parse_allowed(text)

"""What the kernel's counters say of a network namespace; what is not understood counts as used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.sandbox.pauses.counters import (
    counted_nothing,
    counted_nothing_in_ipv6,
    is_unused,
    sent_nothing,
)

HEAD = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
"""  # noqa: E501
DEV = HEAD + "    lo:       0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n  eth0:  516 6 0 0 0 0 0 0  0 0 0 0 0 0 0 0\n"
SNMP = "Ip: Forwarding InReceives OutRequests OutNoRoutes\nIp: 1 6 0 0\nTcp: OutSegs\nTcp: 0\n"
NETSTAT = "TcpExt: SyncookiesSent\nTcpExt: 0\nIpExt: InOctets OutMcastPkts OutOctets\nIpExt: 516 0 0\n"
SNMP6 = "Ip6InReceives\t4\nIp6OutRequests\t0\nIcmp6OutMLDv2Reports\t0\n"
LABELS = "Label S Owner  Users  Linger Expires  Dst                              Opt\n"
FILES = {"net/dev": DEV, "net/snmp": SNMP, "net/netstat": NETSTAT, "net/snmp6": SNMP6, "net/ip6_flowlabel": LABELS}
COUNTERS = st.lists(st.integers(0, 2**63), min_size=8, max_size=8)


@pytest.fixture
def process(tmp_path):
    folder = tmp_path / "77"
    (folder / "net").mkdir(parents=True)
    (folder / "cgroup").write_text("0::/docker/c1\n")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def test_a_namespace_in_which_nothing_was_sent_is_unused(process):
    assert is_unused(process, "c1")


@pytest.mark.parametrize(
    ("name", "zero", "one"),
    [
        ("net/dev", "0 0 0 0 0 0 0 0\n", "0 0 0 1 0 0 0 0\n"),
        ("net/snmp", "Ip: 1 6 0 0", "Ip: 1 6 200 0"),  # datagrams to a group, with a time to live of 0
        ("net/snmp", "Ip: 1 6 0 0", "Ip: 1 6 0 1"),
        ("net/netstat", "IpExt: 516 0 0", "IpExt: 516 0 9"),
        ("net/snmp6", "MLDv2Reports\t0", "MLDv2Reports\t2"),  # no interface counts these
        ("net/ip6_flowlabel", "Opt\n", "Opt\n00001 1 10000 0 6 140 0000:0000 0\n"),
        ("cgroup", "c1", "c2"),  # another process has this number
    ],
)
def test_any_sign_of_use_counts(process, name, zero, one):
    text = (process / name).read_text()
    assert zero in text
    (process / name).write_text(text.replace(zero, one))
    assert not is_unused(process, "c1")


@pytest.mark.parametrize("name", [*FILES, "cgroup"])
def test_what_is_missing_counts_as_used(process, name):
    (process / name).unlink()
    assert not is_unused(process, "c1")


@pytest.mark.parametrize("name", ["net/dev", "net/snmp", "net/netstat", "net/snmp6", "cgroup"])
@pytest.mark.parametrize("text", ["", "\n", "Ip: a b\nIp: 0\n", "x"])
def test_what_is_not_understood_counts_as_used(process, name, text):
    (process / name).write_text(text)
    assert not is_unused(process, "c1")


def test_a_kernel_without_ipv6_counts_none_of_it(process):
    (process / "net/snmp6").unlink()
    (process / "net/ip6_flowlabel").unlink()
    assert is_unused(process, "c1")


def test_a_process_that_ended_is_of_no_use(tmp_path):
    assert not is_unused(tmp_path / "1", "c1")


@given(st.lists(st.tuples(COUNTERS, COUNTERS), min_size=1, max_size=4))
def test_every_counter_of_what_was_sent_counts_and_none_of_what_came(interfaces):
    lines = [f"eth{number}:{' '.join(map(str, [*came, *sent]))}" for number, (came, sent) in enumerate(interfaces)]
    assert sent_nothing(HEAD + "\n".join(lines)) == (not any(any(sent) for _, sent in interfaces))


@given(st.lists(st.integers(0, 2**64), min_size=1, max_size=5), st.integers(0, 2**64))
def test_every_counter_of_ip_counts(sent, came):
    names = " ".join(["InReceives", *(f"Out{number}" for number in range(len(sent)))])
    assert counted_nothing(f"Ip: {names}\nIp: {came} {' '.join(map(str, sent))}\n") == (not any(sent))


@given(st.lists(st.integers(0, 2**64), min_size=1, max_size=5))
def test_every_counter_of_ipv6_counts(sent):
    assert counted_nothing_in_ipv6("".join(f"Ip6Out{number} {number}\n" for number in sent), LABELS) == (not any(sent))

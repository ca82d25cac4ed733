"""When network rules count as confirmed, which networks are refused, and which addresses are the farm's own."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
from docker.errors import NotFound
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import NodeError, SetupError
from buildfarm.settings import Settings
from workers.sandbox.firewall import Allowed, Firewall
from workers.sandbox.network_rules import (
    CONFIRMED_SECONDS_MAX,
    CachePort,
    Confirmation,
    FarmHosts,
    NetworkRules,
    refuse_ipv6,
)

NETWORK = {"Name": "builds", "Id": "ad205428ac519dd2fce08e26", "Options": {}, "EnableIPv6": False}


def test_rules_that_were_never_set_are_not_confirmed():
    assert "they were not set yet" in Confirmation().trouble(0)


def test_a_failure_is_forgiven_for_half_a_minute_and_then_named():
    rules = Confirmation()
    rules.succeed(100)
    rules.fail("iptables failed on the node: busy.")
    assert rules.trouble(130) == ""
    assert rules.trouble(131) == "its network rules were not confirmed for 31 s: iptables failed on the node: busy"
    rules.succeed(140)
    assert rules.trouble(141) == ""
    assert rules.trouble(180) == "its network rules were not confirmed for 40 s: the next check did not end"


def test_what_cannot_be_right_counts_at_once():
    rules = Confirmation()
    rules.succeed(100)
    rules.fail("The network has IPv6.", at_once=True)
    assert rules.trouble(100) == "its network rules are not confirmed: The network has IPv6"


@given(st.lists(st.tuples(st.floats(0, 20), st.sampled_from(("set", "failed", "refused"))), max_size=30))
def test_a_node_is_open_only_if_it_set_the_rules_recently_and_they_were_not_refused_since(steps):
    rules, now, set_at = Confirmation(), 0.0, None
    for pause, step in steps:
        now += pause
        if step == "set":
            rules.succeed(now)
            set_at = now
        else:
            rules.fail("x", at_once=step == "refused")
            set_at = None if step == "refused" else set_at
        assert (not rules.trouble(now)) == (set_at is not None and now - set_at <= CONFIRMED_SECONDS_MAX)


def test_a_network_with_ipv6_is_refused_and_one_without_is_not():
    refuse_ipv6(NETWORK)
    with pytest.raises(SetupError, match="builds has IPv6") as caught:
        refuse_ipv6({**NETWORK, "EnableIPv6": True})
    assert "docker network rm builds" in caught.value.advice


class Engine:
    """Describes one network, as the engine would."""

    def __init__(self):
        self.network = dict(NETWORK)
        self.api = SimpleNamespace(inspect_network=lambda name: self.network)


@pytest.fixture
def kernel(monkeypatch):
    """Rules by bridge, instead of iptables."""
    rules: dict[str, Firewall] = {}
    listed: dict[str, str] = {}

    def keep(firewall):
        rules[firewall.bridge] = firewall
        listed[f"BUILDFARM-F-{firewall.bridge}"] = f"-A {firewall.denied}"

    monkeypatch.setattr(Firewall, "obstacle", lambda firewall: "")
    monkeypatch.setattr(Firewall, "set", keep)
    monkeypatch.setattr(Firewall, "in_force", lambda firewall: dict(listed))
    return SimpleNamespace(rules=rules, listed=listed)


def answering(monkeypatch, names):
    def answer(host, *_, **__):
        if host not in names:
            raise socket.gaierror(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in names[host]]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_the_farms_names_are_resolved_each_time_the_rules_are_set(monkeypatch, kernel):
    names = {"redis": ["203.0.113.1"], "registry": ["127.0.0.1"]}
    answering(monkeypatch, names)
    rules = NetworkRules(Engine(), "builds", (), FarmHosts(("redis://:x@redis:6379/0", "https://registry")))
    rules.keep()
    assert kernel.rules["br-ad205428ac51"].denied == ("203.0.113.1",)
    names["redis"] = ["203.0.113.2"]
    rules.keep()
    assert kernel.rules["br-ad205428ac51"].denied == ("203.0.113.2",)
    del names["redis"]
    rules.keep()
    assert kernel.rules["br-ad205428ac51"].denied == ("203.0.113.2",)


def test_a_name_that_never_resolved_leaves_the_rules_unconfirmed(monkeypatch, kernel):
    answering(monkeypatch, {})
    rules = NetworkRules(Engine(), "builds", (), FarmHosts(("https://registry",)))
    with pytest.raises(NodeError, match="cannot resolve registry"):
        rules.keep()
    assert "cannot resolve registry" in rules.trouble()
    assert not rules.confirmed


@pytest.mark.parametrize(
    ("url", "opened"),
    [
        ("", ()),
        ("http://cache:8090", (Allowed("10.0.0.9/32", 8090),)),
        ("http://cache", (Allowed("10.0.0.9/32", 80),)),
        ("http://here:8090", ()),
        ("http://gone:8090", ()),
    ],
)
def test_builds_reach_the_cache_of_packages_where_its_name_resolves(monkeypatch, kernel, url, opened):
    answering(monkeypatch, {"registry": ["127.0.0.1"], "cache": ["10.0.0.9", "2001:db8::1"], "here": ["127.0.0.1"]})
    rules = NetworkRules(Engine(), "builds", (), FarmHosts(("https://registry",)), downloads=CachePort(url))
    assert not rules.opens("10.0.0.9:8090")
    rules.keep()
    assert kernel.rules["br-ad205428ac51"].downloads == opened
    assert rules.opens("10.0.0.9:8090") == (opened == (Allowed("10.0.0.9/32", 8090),))
    assert not rules.opens("127.0.0.1:8090")


def test_builds_that_run_reach_the_cache_of_packages_where_its_name_was_when_they_began(monkeypatch):
    names = {"cache": ["10.0.0.9"]}
    answering(monkeypatch, names)
    port = CachePort("http://cache:8090")
    first, second = Allowed("10.0.0.9/32", 8090), Allowed("10.0.0.8/32", 8090)
    assert port.opened(1000) == (first,)
    names.clear()
    assert port.opened(100_000) == (first,)
    names["cache"] = ["10.0.0.8"]
    assert port.opened(100_001) == (second,)
    names["cache"] = ["10.0.0.9"]
    assert port.opened(100_011) == (second, first)
    assert port.opened(108_000) == (first,)


def test_a_node_that_can_set_no_rules_keeps_builds_from_no_cache(monkeypatch, kernel):
    answering(monkeypatch, {})
    monkeypatch.setattr(Firewall, "obstacle", lambda firewall: "not root")
    rules = NetworkRules(Engine(), "builds", (), FarmHosts(()), downloads=CachePort("http://cache"))
    rules.keep()
    assert rules.opens("10.0.0.9:80")


def test_one_of_several_sentinels_may_be_gone(monkeypatch):
    answering(monkeypatch, {"a": ["203.0.113.1"]})
    assert FarmHosts(("redis+sentinel://a:1,b:2/main",)).addresses() == {"203.0.113.1"}


def test_a_host_with_ipv6_alone_needs_no_rule(monkeypatch):
    answering(monkeypatch, {"registry": ["2001:db8::1"]})
    assert FarmHosts(("https://registry",)).addresses() == set()


def test_ipv6_that_appears_while_the_node_runs_closes_it_at_once(kernel):
    engine = Engine()
    rules = NetworkRules(engine, "builds", (), FarmHosts(()))
    rules.keep()
    assert rules.confirmed
    engine.network["EnableIPv6"] = True
    with pytest.raises(SetupError):
        rules.keep()
    assert "IPv6" in rules.trouble()


def test_a_network_that_was_removed_is_made_again_with_its_bridge_and_addresses(kernel):
    engine, made = Engine(), []
    engine.network |= {"Labels": {}, "IPAM": {"Config": [{"Subnet": "172.19.0.0/16", "Gateway": "172.19.0.1"}]}}

    def inspect(name):
        if engine.network is None:
            raise NotFound("no such network")
        return engine.network

    def create(name, **options):
        made.append((name, options))
        engine.network = {**NETWORK, "Id": "f" * 64, "Options": options["options"]}  # of another ID

    engine.api.inspect_network = inspect
    engine.networks = SimpleNamespace(create=create)
    rules = NetworkRules(engine, "builds", (), FarmHosts(()))
    rules.keep()
    engine.network = None
    rules.keep()
    [(name, options)] = made
    assert (name, options["options"]["com.docker.network.bridge.name"]) == ("builds", "br-ad205428ac51")
    [pool] = options["ipam"]["Config"]
    assert (pool["Subnet"], pool["Gateway"]) == ("172.19.0.0/16", "172.19.0.1")
    assert list(kernel.rules) == ["br-ad205428ac51"]
    assert rules.confirmed


def test_a_network_that_never_was_is_not_made(kernel):
    engine = Engine()

    def inspect(name):
        raise NotFound("no such network")

    engine.api.inspect_network = inspect
    with pytest.raises(NodeError, match="no such network"):
        NetworkRules(engine, "builds", (), FarmHosts(())).keep()


def test_rules_that_another_process_overwrites_are_not_confirmed_and_removed_ones_are(kernel):
    rules = NetworkRules(Engine(), "builds", (), FarmHosts(()))
    chain = "BUILDFARM-F-br-ad205428ac51"
    kernel.listed[chain] = "-A what an earlier run left"
    rules.keep()
    kernel.listed.clear()
    rules.keep()
    kernel.listed[chain] = "-A another farm's"
    with pytest.raises(NodeError, match="Another process changed the rules of the network builds"):
        rules.keep()
    rules.keep()


def test_a_node_that_can_set_no_rules_says_so_and_is_not_closed_by_it(monkeypatch, kernel):
    monkeypatch.setattr(Firewall, "obstacle", lambda firewall: "the worker is not root")
    rules = NetworkRules(Engine(), "builds", (), FarmHosts(()))
    rules.keep()
    assert (rules.obstacle, rules.trouble(), rules.confirmed) == ("the worker is not root", "", False)


def test_each_farm_has_a_network_of_its_own():
    def name(**values):
        return Settings(**{"redis_url": "redis://:secret@r:6379/0", "namespace": "a:", **values}).sandbox_network

    assert name() == name(redis_url="redis://:other-password@r:6379/0")
    assert (
        len({name(), name(namespace="b:"), name(redis_url="redis://r:6379/1"), name(redis_url="redis://s:6379/0")}) == 4
    )
    assert name(sandbox_network="mine") == "mine"

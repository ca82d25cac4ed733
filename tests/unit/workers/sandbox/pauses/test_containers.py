"""Whose network a sandbox gets: that of a pause container in which nothing was ever sent, or a new one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from docker.errors import APIError

from buildfarm.errors import NodeError
from workers.sandbox.pauses.containers import PauseContainers

# /proc/PID/net of a namespace in which nothing was sent, as far as it is read
NET = {
    "dev": "    lo:  0 0 0 0 0 0 0 0  0 0 0 0 0 0 0 0\n  eth0:  516 6 0 0 0 0 0 0  0 0 0 0 0 0 0 0\n",
    "snmp": "Ip: InReceives OutRequests\nIp: 6 0\n",
    "netstat": "IpExt: InOctets OutOctets\nIpExt: 516 0\n",
    "snmp6": "Ip6OutRequests 0\n",
    "ip6_flowlabel": "Label S Owner\n",
}


class Engine:
    """Containers that run, by their ids; each has its process in a made folder of processes."""

    def __init__(self, proc):
        self.proc, self.running, self.made = proc, {}, 0
        self.starts = self.lives = True
        self.stuck = set()  # containers that it does not remove
        self.containers = SimpleNamespace(create=self.create)
        self.api = SimpleNamespace(
            start=self.start,
            inspect_container=lambda name: {"State": {"Pid": self.running[name], "Running": self.lives}},
            remove_container=self.remove,
        )

    def create(self, image, name):
        self.made += 1
        return SimpleNamespace(id=f"{self.made:064x}")

    def start(self, container_id):
        if not self.starts:
            raise APIError("no")
        self.running[container_id] = self.made
        net = self.proc / str(self.made) / "net"
        net.mkdir(parents=True)
        (net.parent / "cgroup").write_text(f"0::/system.slice/docker-{container_id}.scope\n")
        for name, text in NET.items():
            (net / name).write_text(text)

    def remove(self, container_id, **options):
        if container_id in self.stuck:
            raise APIError("no")
        self.running.pop(container_id, None)

    def sends(self, network):
        process = self.running[network.removeprefix("container:")]
        (self.proc / str(process) / "net/snmp").write_text("Ip: InReceives OutRequests\nIp: 6 1\n")


@pytest.fixture
def engine(tmp_path):
    return Engine(tmp_path)


@pytest.fixture
def pauses(engine):
    spec = SimpleNamespace(pause_options=lambda name: {"name": name})
    return PauseContainers(engine, spec, 2, engine.proc)


def lent(pauses, image="builder"):
    with pauses.lend(image) as network:
        return network


def test_a_network_in_which_nothing_was_sent_goes_to_the_next_sandbox(engine, pauses):
    first = lent(pauses)
    assert first == f"container:{1:064x}"
    assert [lent(pauses) for _ in range(5)] == [first] * 5
    assert engine.made == 1
    assert len(pauses.names()) == 1


def test_a_network_in_which_something_was_sent_goes_to_nobody(engine, pauses):
    with pauses.lend("builder") as first:
        engine.sends(first)
    assert not engine.running
    assert not pauses.names()
    # The next build may use its network, too: the engine makes it.
    assert lent(pauses) == ""
    assert lent(pauses) not in ("", first)


def test_the_more_use_their_networks_the_fewer_are_made_in_vain(engine, pauses):
    def until_one_is_used():
        """How many networks the engine makes until a sandbox gets a pause container's, and uses it."""
        count = 0
        while True:
            with pauses.lend("builder") as network:
                if network:
                    engine.sends(network)
                    return count
                count += 1

    assert [until_one_is_used() for _ in range(6)] == [0, 1, 2, 4, 8, 8]
    while not (unused := lent(pauses)):
        pass
    assert lent(pauses) == unused
    with pauses.lend("builder") as network:
        engine.sends(network)
    assert until_one_is_used() == 1, "after one that was not used it begins anew"


def test_none_is_made_while_a_build_waits_but_a_spare_one_is_used(engine, pauses):
    with pauses.lend("builder", only_spare=True) as network:
        assert (network, engine.made) == ("", 0)
    first = lent(pauses)
    assert pauses.has_spare("builder") and not pauses.has_spare("other")
    with pauses.lend("builder", only_spare=True) as network:
        assert network == first
        assert not pauses.has_spare("builder")


def test_two_sandboxes_at_once_have_two_networks(engine, pauses):
    with pauses.lend("builder") as first, pauses.lend("builder") as second:
        assert first != second
    assert {lent(pauses), lent(pauses)} <= {first, second}


def test_no_more_wait_than_may(engine, pauses):
    with pauses.lend("builder"), pauses.lend("builder"), pauses.lend("builder"):
        assert len(engine.running) == 3
    assert len(engine.running) == 2
    assert len(pauses.names()) == 2


def test_a_network_of_a_sandbox_that_may_still_run_goes_to_nobody(engine, pauses):
    with pytest.raises(NodeError), pauses.lend("builder"):
        raise NodeError("The sandbox was not removed.")
    assert not engine.running


def test_an_old_one_goes_to_nobody(engine, pauses):
    now = 0.0
    pauses.clock = lambda: now
    first = lent(pauses)
    assert len(engine.running) == 1
    now = 3599.0
    with pauses.lend("builder") as network:
        assert network == first
        now = 3600.0
    assert not engine.running


def test_one_that_has_waited_for_long_is_not_lent_and_is_replaced(engine, pauses):
    now = 0.0
    pauses.clock = lambda: now
    lent(pauses)
    pauses.prepare("builder", 2)
    now = 3600.0
    assert lent(pauses) == ""
    pauses.prepare("builder", 2)
    assert list(engine.running) == [f"{3:064x}"]


def test_as_many_as_may_wait_are_made_ahead(engine, pauses):
    for _ in range(4):
        pauses.prepare("builder", 2)
    assert engine.made == len(engine.running) == len(pauses.names()) == 2
    with pauses.lend("builder", only_spare=True) as first, pauses.lend("builder", only_spare=True) as second:
        assert first and second and first != second


def test_those_of_each_image_are_as_many_as_its_sandboxes(engine, pauses):
    for _ in range(3):
        pauses.prepare("builder", 1)
        pauses.prepare("other", 1)
    assert pauses.has_spare("builder") and pauses.has_spare("other")
    assert engine.made == 2


def test_none_is_made_ahead_after_a_build_that_used_its_network(engine, pauses):
    with pauses.lend("builder") as first:
        engine.sends(first)
    pauses.prepare("builder", 2)
    assert not engine.running


def test_one_that_becomes_ready_as_the_node_ends_goes(engine, pauses):
    start = engine.api.start
    engine.api.start = lambda container: (start(container), pauses.close())
    pauses.prepare("builder", 2)
    assert not engine.running and not pauses.names()


def test_a_ready_sandbox_whose_pause_container_ended_has_no_network(engine, pauses):
    assert pauses.works("")
    with pauses.lend("builder") as network:
        assert pauses.works(network)
        (engine.proc / "1/cgroup").unlink()
        assert not pauses.works(network)
    assert not pauses.works(network)


def test_a_spare_one_that_ended_is_not_used(engine, pauses):
    first = lent(pauses)
    (engine.proc / "1/net/dev").unlink()
    assert lent(pauses) == ""
    assert lent(pauses) not in ("", first)


def test_a_node_that_cannot_see_counters_leaves_all_networks_to_the_engine(engine, pauses, tmp_path):
    pauses.proc = tmp_path / "elsewhere"
    assert [lent(pauses) for _ in range(20)] == [""] * 20
    assert engine.made == 1
    assert not engine.running
    assert not pauses.names()


def test_one_that_ends_at_once_is_tried_again_later(engine, pauses, tmp_path):
    pauses.proc, engine.lives = tmp_path / "elsewhere", False
    assert lent(pauses) == ""
    pauses.proc, engine.lives = engine.proc, True
    assert [lent(pauses) for _ in range(8)] == [""] * 8
    assert lent(pauses)


def test_only_those_of_these_images_stay(engine, pauses):
    old, new = lent(pauses, "old"), lent(pauses, "new")
    assert old != new
    pauses.leave_only({"new"})
    assert [f"container:{each}" for each in engine.running] == [new]
    pauses.leave_only(set())
    assert not engine.running
    assert not pauses.names()


def test_one_that_is_not_removed_keeps_no_other_and_is_left_to_the_janitor(engine, pauses):
    with pauses.lend("builder"), pauses.lend("builder"):
        pass
    engine.stuck = set(engine.running)
    with pytest.raises(NodeError, match="remove"):
        pauses.leave_only(set())
    assert len(pauses.names()) == 1
    engine.stuck = set()
    pauses.leave_only(set())
    assert len(engine.running) == 1
    assert not pauses.names()


def test_after_the_end_none_is_kept(engine, pauses):
    with pauses.lend("builder"):
        lent(pauses)
        assert len(engine.running) == 2
        pauses.close()
        assert len(engine.running) == 1
    assert not engine.running


def test_one_that_does_not_start_is_removed_and_the_engine_makes_the_network(engine, pauses):
    engine.starts = False
    assert lent(pauses) == ""
    assert not pauses.names()
    engine.starts = True
    assert lent(pauses).startswith("container:")

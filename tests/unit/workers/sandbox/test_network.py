"""The options of networks for sandboxes."""

from workers.sandbox.network import builds_options, host_mtu


def test_the_mtu_is_that_of_the_way_out(tmp_path):
    (tmp_path / "eth7").mkdir()
    (tmp_path / "eth7/mtu").write_text("1400\n")
    routes = "Iface Destination Gateway\neth9 0000FEA9 0\neth7 00000000 0101A8C0\n"
    assert host_mtu(routes, tmp_path) == 1400
    assert host_mtu(routes.replace("eth7", "eth8"), tmp_path) == 1500
    assert host_mtu("Iface Destination\n", tmp_path) == 1500


def test_sandboxes_cannot_reach_one_another_and_large_packets_arrive():
    options = builds_options()
    assert options["com.docker.network.bridge.enable_icc"] == "false"
    assert options["com.docker.network.enable_ipv6"] == "false"
    assert int(options["com.docker.network.driver.mtu"]) >= 68

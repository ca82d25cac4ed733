"""Where an app is built again when several nodes are there, and what happens when its last node is not fit."""

from __future__ import annotations

import signal

import pytest

from buildfarm.model import State
from buildfarm.queue.names import queue_names
from testkit.builds import Builds, build_node, farm_alone, promised, wait_for, write_files
from testkit.queue.farm import request
from testkit.queue.redeploys import first_builds, redeploys, two_nodes

OFFER_SECONDS = 0.1
SLACK_SECONDS = 0.5  # of a machine that does other things too; a message that is lost takes longer
PATIENT = {"BUILDFARM_OFFER_SECONDS": "1"}  # the same, for what is to be taken
LOST_SECONDS = 15


@pytest.fixture
def nodes():
    with two_nodes(2) as found:
        yield found


def test_an_app_goes_where_it_was_built_last():
    with two_nodes(2, **PATIENT) as (farm, _):

        def ready(node):
            """A node that a busy machine makes late with its heartbeat is offered nothing."""
            key = farm.database.key("node", node)
            wait_for(lambda: farm.database.now() - float(farm.database.client.hget(key, "seen_at")) < 1.5, 30)

        last = first_builds(farm, 8)
        again = [build for _ in range(3) for build in redeploys(farm, last, ready=ready)]
        bindings = farm.database.client.smembers(farm.database.key("_kombu.binding.build.submit"))
    assert sum(build.node == build.last for build in again) >= 0.95 * len(again)
    assert bindings
    assert not any(".node" in binding for binding in bindings)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_an_app_waits_no_longer_than_the_offer_for_a_node_that_is_gone(nodes, end):
    farm, processes = nodes
    last = first_builds(farm, 16)
    gone = next(iter(last.values()))
    apps = {app: where for app, where in last.items() if where == gone}
    processes[gone].send_signal(end)
    if end is signal.SIGKILL:
        processes[gone].wait()  # its connections are closed now: Redis hands it no ordinary message
    builds, row = [], farm.database.key("node", gone)
    try:
        for app in apps:
            # As if its last heartbeat had just come: each build is offered to it.
            farm.database.client.hset(row, mapping={"free": 2, "seen_at": farm.database.now()})
            build_id = farm.submit(request("again", app, cached_result=False)).id
            # A frozen node may have taken one ordinary message, which is found to be lost as always.
            builds.append(farm.wait(build_id, timeout_seconds=promised(LOST_SECONDS)))
    finally:
        processes[gone].send_signal(signal.SIGCONT)
    assert {build.state for build in builds} == {State.SUCCEEDED}
    assert gone not in {build.node for build in builds}
    waits = sorted(build.started_at - build.submitted_at for build in builds)
    # The median: a busy machine may hold up one of them, and a frozen node its message.
    assert waits[len(waits) // 2] <= OFFER_SECONDS + SLACK_SECONDS, waits


def test_a_lost_message_is_found_as_soon_as_ever(nodes):
    farm, processes = nodes
    last = first_builds(farm, 4)
    for process in processes.values():
        process.send_signal(signal.SIGSTOP)
    try:
        ids = [farm.submit(request("again", app, cached_result=False)).id for app in last]
        keys = [farm.database.key(name) for name in queue_names(farm.settings.classes, farm.settings.shards)]
        farm.database.client.delete(*keys)
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGCONT)
    builds = [farm.wait(build_id, timeout_seconds=promised(LOST_SECONDS)) for build_id in ids]
    assert {build.state for build in builds} == {State.SUCCEEDED}


APP = {
    "bin/detect": "#!/bin/sh\necho Inline\n",
    "bin/compile": (
        "#!/bin/sh\nset -e\nif grep -q ' /app overlay ' /proc/mounts; then echo 'on a snapshot'; fi\n"
        '[ -e "$2/kept" ] || head -c 1000000 /dev/urandom >"$2/kept"\n'
    ),
    "bin/release": "#!/bin/sh\necho '---'\n",
    "Procfile": "web: sleep infinity\n",
}


def test_a_real_app_is_built_again_on_its_snapshot(tmp_path):
    folder = write_files(tmp_path, APP)
    for program in (folder / "bin").iterdir():
        program.chmod(0o755)
    with farm_alone("offers") as farm, build_node(farm, **PATIENT) as one, build_node(farm, **PATIENT) as two:
        builds = Builds(farm, None)
        first = builds(folder, cached_result=False)
        assert first.state is State.SUCCEEDED, builds.log(first)
        home = one if first.node == one.id else two
        snapshots = home.workspaces / f"{home.id}.snapshots"
        wait_for(lambda: list(snapshots.iterdir()) if snapshots.is_dir() else (), 60)
        again = [builds(folder, cached_result=False) for _ in range(5)]
        there = [build for build in again if build.node == home.id]
        # A node that a busy machine makes late with its heartbeat is offered nothing.
        assert len(there) >= 3, [build.node for build in again]
        assert all("on a snapshot" in builds.log(build) for build in there)

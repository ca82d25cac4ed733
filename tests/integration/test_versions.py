"""Neighbouring versions on one Redis: each reads what the other wrote, or leaves it to the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from buildfarm.config_vars.build_variables import BuildVariable
from buildfarm.errors import VersionError
from buildfarm.model import BuildRequest, State
from buildfarm.releases.channels.pointers import Pointers
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import Lease, Leases
from testkit.archive import FAILURE
from testkit.builds import Builds, build_node, wait_for, write_files
from testkit.serving import serving

ROOT = Path(__file__).parents[2]
SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64)
# The last one that reads records strictly. Replace it with the newest release whenever there is one.
PREVIOUS = os.environ.get("BUILDFARM_TESTS_PREVIOUS", "c7ebd68efcf5e9b124430ded1d7a0eb01a4964d6")
# The last one that refuses some names of config vars; it leaves records that it cannot read to others.
FEWER_NAMES = "6bb886d81e7b3ae20d88367a7da9eb4b34c5b822"
# The last one that writes no releases and keeps no list of apps.
NO_RELEASES = "27b0ac03a5861036f975c07087361dde62946581"

SUBMIT = """
import sys
from functools import cache
from pathlib import Path
from buildfarm.farm import open_farm
from buildfarm.model import BuildRequest
from buildfarm.settings import read_settings

with open_farm(read_settings()) as farm:
    source, _ = farm.pack(Path(sys.argv[1]), sys.argv[2])
    env = dict(name.split("=") for name in sys.argv[3:])
    print(farm.submit(BuildRequest(tenant=sys.argv[2], app="old", source=source, env=env)).id)
"""

# What the previous version refused: names that begin with _, and those that its sandbox could not bear.
NEW_NAMES = {"_X": "1", "ENV": "production", "UID": "7"}
PRINTS_NAMES = {
    "bin/detect": "#!/bin/bash\necho App\n",
    "bin/compile": '#!/bin/bash\ncd "$3" && head -v -c 99 *\n',
    "Procfile": "web: true\n",
}


@pytest.fixture(scope="session")
def code_of(tmp_path_factory):
    """The code of another version, out of the repository's history."""

    @cache
    def unpack(commit):
        known = subprocess.run(["git", "-C", str(ROOT), "cat-file", "-e", f"{commit}^{{commit}}"], check=False)
        if known.returncode != 0:
            pytest.skip(f"the repository has no commit {commit[:12]}: it is a shallow clone")
        folder = tmp_path_factory.mktemp("previous")
        archive = ["git", "-C", str(ROOT), "archive", commit, "buildfarm", "workers"]
        with subprocess.Popen(archive, stdout=subprocess.PIPE) as packed:
            subprocess.run(["tar", "--extract", "--directory", str(folder)], stdin=packed.stdout, check=True)
        assert packed.returncode == 0
        return folder

    return unpack


@pytest.fixture(scope="session")
def previous(code_of):
    """The code of the previous version."""
    return code_of(PREVIOUS)


@pytest.fixture
def leases(farm):
    return Leases(farm.admission, 9, 1)


def request(app="a"):
    return BuildRequest(tenant="t", app=app, source=SOURCE)


def rewrite(farm, build_id, name, change):
    """A part of a record as another version might have written it."""
    key = farm.database.key("build", build_id)
    content = json.loads(farm.database.client.hget(key, name))
    change(content)
    farm.database.client.hset(key, name, json.dumps(content))


def add_fields(content):
    content["novelty"] = {"of": "a newer version"}
    content["source"]["novelty"] = 1


def test_what_a_newer_version_added_to_a_record_is_left_out(farm, leases):
    build = farm.submit(request())
    rewrite(farm, build.id, "request", add_fields)
    farm.database.client.hset(farm.database.key("build", build.id), "novelty", "1")
    assert farm.get(build.id).request == build.request
    assert farm.recent() == farm.page(10)[0] == [farm.get(build.id)]
    lease = leases.claim(build.id, "n")
    assert isinstance(lease, Lease)
    assert lease.build.request == build.request


def test_a_record_that_cannot_be_read_costs_no_attempt_and_no_page(farm, leases):
    builds = [farm.submit(request(app)) for app in "abc"]
    unread = builds[1].id
    rewrite(farm, unread, "request", lambda content: content["source"].update(kind="novelty"))
    for number in range(1, 4):
        assert leases.claim(unread, "n").reason == "unreadable"
        assert farm.database.client.hmget(farm.database.key("build", unread), "state", "attempt", "spared") == [
            "queued", str(number), str(number),
        ]  # fmt: skip
        # It is not sent again at once: nodes of this version would do nothing else.
        assert (leases.send_due(10), leases.waiting_count()) == (0, 1)
        farm.database.client.zadd(farm.database.key("retries"), {unread: 1})
        assert leases.send_due(10) == 1
    assert [build.id for build in farm.page(10)[0]] == [builds[2].id, builds[0].id]
    assert [build.id for build in farm.recent()] == [builds[2].id, builds[0].id]
    with pytest.raises(VersionError, match=f"The record of build {unread} was written by another version"):
        farm.get(unread)
    # A newer node reads it, and has the only attempt that there is.
    rewrite(farm, unread, "request", lambda content: content["source"].update(kind="artifact"))
    assert leases.claim(unread, "n").attempt == 4


def test_a_record_that_no_version_can_read_fails_in_the_end(farm, leases):
    build = farm.submit(request())
    key = farm.database.key("build", build.id)
    farm.database.client.hset(key, "request", "{")
    farm.database.client.hset(key, "spared", 240)
    farm.database.client.hset(key, "attempt", 240)
    assert leases.claim(build.id, "n").reason == "unreadable"
    assert farm.database.client.hget(key, "state") == State.FAILED
    assert json.loads(farm.database.client.hget(key, "failure"))["code"] == "farm.version"


def test_a_node_builds_what_has_fields_that_it_does_not_know(farm, tmp_path):
    builds = Builds(farm, None)
    source, _ = farm.pack(write_files(tmp_path, {"index.html": "hello\n"}), builds.tenant)
    build_id = builds.submit(source=source)
    rewrite(farm, build_id, "request", add_fields)
    with build_node(farm):
        build = builds.ended(build_id)
    assert (build.state, build.attempt) == (State.SUCCEEDED, 1), builds.log(build)


def test_a_node_of_the_previous_version_builds_for_this_one(farm, previous, tmp_path):
    builds = Builds(farm, None)
    with build_node(farm, code=previous) as node:
        build = builds(write_files(tmp_path, {"index.html": "hello\n"}), env={"GREETING": "hello"})
        assert (build.state, build.attempt, build.node) == (State.SUCCEEDED, 1, node.id), builds.log(build)
        source, _ = farm.pack(write_files(tmp_path, {"package.json": '{"scripts": {"build": "sleep 300"}}'}), "t")
        running = builds.submit(source=source, app="cancelled")
        wait_for(lambda: farm.get(running).state is State.RUNNING, 60)
        farm.cancel(running)
        assert builds.ended(running).state is State.CANCELLED


def test_a_node_of_this_version_builds_for_the_previous_one(farm, previous, tmp_path):
    builds = Builds(farm, None)
    environment = {**os.environ, "PYTHONPATH": str(previous), "BUILDFARM_NAMESPACE": farm.settings.namespace}
    source = str(write_files(tmp_path, PRINTS_NAMES))
    command = [sys.executable, "-c", SUBMIT, source, builds.tenant, "GREETING=hello", "UIDS=7"]
    submit = subprocess.run(command, cwd=previous, env=environment, capture_output=True, text=True, check=False)
    assert submit.returncode == 0, submit.stderr
    assert farm.get(submit.stdout.strip()).state is State.QUEUED
    with build_node(farm):
        build = builds.ended(submit.stdout.strip())
    assert (build.state, build.attempt) == (State.SUCCEEDED, 1), builds.log(build)
    assert build.request.app == "old"
    assert {"==> GREETING <==", "hello", "==> UIDS <==", "7"} <= {
        line.strip() for line in builds.log(build).split("\n")
    }


@pytest.mark.kind("config vars")
@pytest.mark.parametrize("commit", [PREVIOUS, FEWER_NAMES], ids=["reads strictly", "leaves it to others"])
def test_names_of_config_vars_that_an_older_node_refuses_are_left_to_a_newer_one(
    farm, code_of, commit, tmp_path, record_property
):
    builds = Builds(farm, None)
    source, _ = farm.pack(write_files(tmp_path, PRINTS_NAMES), builds.tenant)
    with build_node(farm, code=code_of(commit)) as old:
        unknown = builds.submit(source=source, app="unknown", env=NEW_NAMES)
        known = builds.ended(builds.submit(source=source, app="known", env={"GREETING": "hello"}))
        assert (known.state, known.attempt, known.node) == (State.SUCCEEDED, 1, old.id), builds.log(known)
        left = farm.get(unknown).state
        # The one that reads strictly learns what it cannot read when it already has the lease.
        assert left in {State.QUEUED, State.RUNNING} if commit == PREVIOUS else left is State.QUEUED
    with build_node(farm) as new:
        build = builds.ended(unknown)
    assert (build.state, build.node) == (State.SUCCEEDED, new.id), builds.log(build)
    assert set(build.request.env) == set(NEW_NAMES)
    told = {line.strip() for line in builds.log(build).split("\n")}
    assert {"==> ENV <==", "production", "==> UID <==", "7", "==> _X <==", "1"} <= told
    record_property("seen", f"the older node left it {left} and built the next; built in attempt {build.attempt}")


@pytest.mark.parametrize("commit", [PREVIOUS, NO_RELEASES], ids=["reads strictly", "leaves it to others"])
def test_a_build_with_build_variables_is_left_to_a_newer_node(farm, code_of, commit, tmp_path, record_property):
    """An older one would build it without the proxy that it needs."""
    builds = Builds(farm, None)
    files = {**PRINTS_NAMES, "bin/compile": '#!/bin/bash\necho "it is ${GREETING#hel}"\n'}
    source, _ = farm.pack(write_files(tmp_path, files), builds.tenant)
    with build_node(farm, code=code_of(commit)) as old:
        farm.set_variables({"GREETING": BuildVariable(value="hello")}, tenant=builds.tenant, app="with")
        left = builds.submit(source=source, app="with")
        other = builds.ended(builds.submit(source=source, app="without"))
        assert (other.state, other.node) == (State.SUCCEEDED, old.id), builds.log(other)
        assert farm.get(left).state in ({State.QUEUED, State.RUNNING} if commit == PREVIOUS else {State.QUEUED})
        assert command_line(farm, code_of(NO_RELEASES), "list")  # it does without what it cannot read
    with build_node(farm) as new:
        build = builds.ended(left)
    assert (build.state, build.node) == (State.SUCCEEDED, new.id), builds.log(build)
    assert "it is lo" in builds.log(build)
    record_property("seen", f"built in attempt {build.attempt}")


def test_nodes_of_both_versions_share_the_work(farm, previous, tmp_path):
    builds = Builds(farm, None)
    source, _ = farm.pack(write_files(tmp_path, {"index.html": "hello\n"}), builds.tenant)
    with build_node(farm) as new, build_node(farm, code=previous) as old:
        ids = [builds.submit(source=source, app=f"app-{number}", cached_result=False) for number in range(8)]
        ended = [builds.ended(build_id) for build_id in ids]
    assert {(build.state, build.attempt) for build in ended} == {(State.SUCCEEDED, 1)}
    assert {build.node for build in ended} <= {new.id, old.id}


def command_line(farm, code, *words, url="", token="", check=True):
    """What a command of this code prints, with direct access to the farm or over HTTP."""
    environment = {**os.environ, "PYTHONPATH": str(code), "BUILDFARM_NAMESPACE": farm.settings.namespace}
    environment |= {"BUILDFARM_URL": url, "BUILDFARM_TOKEN": token} if url else {}
    command = [sys.executable, "-m", "buildfarm", *words]
    done = subprocess.run(command, cwd=code, env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout or done.stderr


def test_a_farm_is_upgraded_as_the_page_on_upgrading_says_and_goes_back(farm, code_of, tmp_path):
    old, app = code_of(NO_RELEASES), f"{Builds(farm, None).tenant}/web"
    source = str(write_files(tmp_path, {"index.html": "hello\n"}))

    def build(code, *words, **client):
        return json.loads(command_line(farm, code, "build", source, "--app", app, "--json", *words, **client))

    with build_node(farm, code=old) as node:
        made = command_line(farm, old, "tokens", "make", "--tenant", app.partition("/")[0], "--scope", "read")
        token = next(word for word in made.split() if word.startswith("bf_"))
        before = build(old)
        log = command_line(farm, old, "logs", before["id"])
        command_line(farm, old, "nodes", "drain", node.id)
        node.process.wait(30)
        assert node.id not in command_line(farm, old, "nodes")
    with build_node(farm), serving(farm) as api:
        assert command_line(farm, ROOT, "logs", before["id"], url=api.url, token=token) == log
        with api.as_(None, "read") as client:
            assert app in client.get("/v1/builds").text
        refused = command_line(farm, ROOT, "apps", "rebase", app, check=False)
        assert "Build the app again" in refused
        after, again = build(ROOT), build(ROOT)
        assert (after["state"], after["result_of"], again["result_of"]) == ("succeeded", None, after["id"])
        assert after["result"]["digest"] != before["result"]["digest"]
        assert after["result"]["digest"] in command_line(farm, ROOT, "apps", "show", app)
    with build_node(farm, code=old):
        assert json.loads(command_line(farm, old, "show", after["id"], "--json"))["result"] is not None
        assert build(old, "--rebuild")["result"]["digest"] == before["result"]["digest"]


def test_a_node_of_the_previous_version_builds_every_app_on_stable(farm, previous, leases, tmp_path):
    """It knows of no other channel; what a newer node recorded of an earlier attempt does not count for its own."""
    builds = Builds(farm, None)
    Pointers(farm.database).set("stable", farm.builder(), actor="ada", reason="")  # which the node reads as promoted
    Pointers(farm.database).set("next", f"builder@{SOURCE.digest}", actor="ada", reason="")
    farm.set_app_channel(builds.tenant, "app", "next")
    source, _ = farm.pack(write_files(tmp_path, {"index.html": "hello\n"}), builds.tenant)
    build_id = builds.submit(source=source)
    told = {"channels": {"next": f"builder@{SOURCE.digest}"}, "has": {f"builder@{SOURCE.digest}": 1}}
    lease = leases.claim(build_id, "newer", bases=json.dumps(told))
    assert (lease.build.channel, lease.build.base) == ("next", f"builder@{SOURCE.digest}")
    assert leases.give_back(lease, FAILURE, counts=False) == State.QUEUED
    with build_node(farm, code=previous) as node:
        build = builds.ended(build_id)
    assert (build.state, build.attempt, build.node) == (State.SUCCEEDED, 2, node.id), builds.log(build)
    assert (build.channel, build.base) == ("", "")

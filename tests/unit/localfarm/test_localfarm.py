"""The local farm's memory and its way round a machine, without an engine."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import SetupError
from buildfarm.recipes.folder import CHECKOUT_RECIPES as RECIPES
from buildfarm.recipes.folder import read_recipe
from buildfarm.recipes.parts import Dockerfile
from buildfarm.store.archive.catalog import BUCKETS
from localfarm import services
from localfarm.images import BUILDER, DEBIAN, SUITE, Distribution
from localfarm.services import Service, downloads, redis_service
from localfarm.state import LocalState, forget, locked, make_directory, read_state, secret_file, write_file, write_state
from localfarm.waiting import run_side_by_side, wait_until
from localfarm.worker import PID_FILE, running_worker


@given(
    st.builds(
        LocalState,
        redis_password=st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True),
        redis_port=st.integers(1, 65535),
        registry_port=st.integers(1, 65535),
        builder=st.sampled_from(["", "builder@sha256:" + "a" * 64]),
        downloads_url=st.sampled_from(["", "http://172.18.0.1:8090"]),
        worker=st.booleans(),
    )
)
def test_what_is_remembered_is_read_back(state):
    assert LocalState.decode(state.encode()) == state


def test_a_machine_without_a_farm_remembers_nothing(tmp_path):
    assert read_state(tmp_path) is None


def test_a_broken_memory_says_what_to_do(tmp_path):
    (tmp_path / "farm.env").write_text("nonsense")
    with pytest.raises(SetupError, match="Delete it"):
        read_state(tmp_path)


def test_secrets_are_made_once_and_closed_to_others(tmp_path):
    make_directory(tmp_path)
    first = secret_file(tmp_path, "redis-password").read_text()
    assert secret_file(tmp_path, "redis-password").read_text() == first
    assert len(first) >= 32
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    write_state(tmp_path, LocalState(redis_password=first))
    assert stat.S_IMODE((tmp_path / "farm.env").stat().st_mode) == 0o600


def test_forgetting_leaves_what_is_not_ours(tmp_path):
    make_directory(tmp_path)
    write_state(tmp_path, LocalState(redis_password=secret_file(tmp_path, "x").read_text()))
    (tmp_path / "mine.txt").touch()
    forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_is_whole_or_old(tmp_path):
    write_file(tmp_path / "a", "one", mode=0o600)
    write_file(tmp_path / "a", "two", mode=0o644)
    assert (tmp_path / "a").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_two_runs_do_not_meet(tmp_path):
    with locked(tmp_path), pytest.raises(SetupError, match="Another"), locked(tmp_path, seconds=0.1):
        raise AssertionError("both have the lock")


def test_waiting_ends_at_once_or_at_its_deadline():
    assert wait_until(lambda: True, 0)
    assert not wait_until(lambda: False, 0.05)


def test_the_builder_is_told_what_its_base_is_and_is_debians_where_it_is_not():
    wanted = read_recipe(RECIPES / BUILDER).dockerfile
    ubuntu = {"STACK": "noble", "DISTRO_NAME": "ubuntu", "DISTRO_VERSION": "24.04"}
    assert Distribution("noble", "ubuntu", "24.04").fill(wanted).arguments == ubuntu
    assert DEBIAN.fill(wanted) == wanted.filled(SUITE)


def test_a_dockerfile_is_not_told_what_it_does_not_take():
    wanted = Dockerfile(takes=["Dockerfile"], file="Dockerfile", arguments={"GREETING": "{version}"})
    assert DEBIAN.fill(wanted).arguments == {"GREETING": SUITE}


def test_jobs_side_by_side_keep_their_order_and_fail_together():
    assert run_side_by_side([lambda: 1, lambda: 2]) == [1, 2]

    def fail():
        raise SetupError("no")

    with pytest.raises(SetupError):
        run_side_by_side([lambda: 1, fail])


def test_a_process_is_told_from_a_later_one_of_the_same_number(tmp_path):
    started = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19]
    (tmp_path / PID_FILE).write_text(f"{os.getpid()} {started}")
    assert running_worker(tmp_path) is not None
    (tmp_path / PID_FILE).write_text(f"{os.getpid()} 1")
    assert running_worker(tmp_path) is None
    (tmp_path / PID_FILE).write_text("garbage")
    assert running_worker(tmp_path) is None


def test_the_local_redis_has_a_bound_and_drops_nothing():
    command = redis_service("redis", LocalState(redis_password="x"), Path("password")).command
    options = dict(zip(command[::2], command[1::2], strict=True))
    assert (options["--maxmemory"], options["--maxmemory-policy"]) == ("1gb", "noeviction")


def test_redis_keeps_16_million_archived_builds_in_hashes_of_one_piece_here_and_in_the_chart():
    command = redis_service("redis", LocalState(redis_password="x"), Path("password")).command
    chart = (Path(__file__).parents[3] / "helm/buildfarm/templates/redis.yaml").read_text()
    arguments = re.search(r"args: (\[--appendfsync.*?\])\n", chart)[1]
    arguments = yaml.safe_load(arguments.replace("{{ .Values.redis.maxMemory | quote }}", "1gb"))
    longest_value = f"{'t' * 30}/{'a' * 30} {10**10}"
    for words in (command, arguments):
        options = dict(zip(words[::2], words[1::2], strict=True))
        assert int(options["--hash-max-listpack-entries"]) * BUCKETS >= 16_000_000
        assert int(options["--hash-max-listpack-value"]) >= len(longest_value)


class Container:
    """One of the engine, whose program has ended."""

    status = "exited"
    labels: ClassVar[dict[str, str]] = {}
    is_stopped = False

    def start(self):
        self.status = "running"

    def stop(self, timeout):
        self.is_stopped = True

    def logs(self, tail):
        return b"bind() to 172.18.0.1:8090 failed (98: Address already in use)\n"


def test_a_cache_of_packages_that_cannot_run_is_stopped_and_the_farm_comes_up_without_it(monkeypatch):
    said, container = [], Container()
    client = SimpleNamespace(containers=SimpleNamespace(get=lambda name: container))
    service = Service("downloads", "image", 8090, 8090, "/data", {}, {"LISTEN": "127.0.0.1:1"})
    container.labels = {services.CONFIG: repr(service)}
    monkeypatch.setattr(downloads, "_READY_SECONDS", 0)
    downloads.ensure(client, service, said.append)
    assert container.is_stopped
    assert "Address already in use" in said[-1]


def test_builds_lose_a_cache_of_packages_that_is_made_anew_or_removed():
    container = Container()
    client = SimpleNamespace(containers=SimpleNamespace(get=lambda name: container))
    service = Service("downloads", "image", 8090, 8090, "/data", {}, {"LISTEN": "127.0.0.1:1"})
    container.labels = {services.CONFIG: repr(service)}
    assert not downloads.ends(client, service)
    assert downloads.ends(client, replace(service, image="newer"))
    assert downloads.ends(client, None)

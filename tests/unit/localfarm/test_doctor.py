"""What `buildfarm doctor` says of a machine, and that it changes nothing."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from buildfarm.cli.error_handler import Exit
from buildfarm.errors import SetupError
from buildfarm.settings import Settings
from localfarm import engine, packages
from localfarm.doctor.finding import Level
from localfarm.doctor.kernel import Kernel, check_kernel, check_rights
from localfarm.doctor.network import Port, check_certificates, check_ports
from localfarm.doctor.programs import check_absent_engine, check_engine, check_programs
from localfarm.doctor.room import check_folders, check_memory, nearest
from localfarm.services import port_taken, published_ports
from localfarm.state import DEFAULT_DOCKER_URL

GIB = 1024**3
VERSION = {"Version": "27.3.1", "Components": [{"Name": "Engine", "Version": "27.3.1"}]}
INFO = {
    "SecurityOptions": ["name=seccomp,profile=default"], "CgroupVersion": "2",
    "MemoryLimit": True, "SwapLimit": True, "CpuCfsQuota": True, "PidsLimit": True,
}  # fmt: skip
LOADED = "nodev\toverlay\n\text4\nnodev\tproc\n"


def levels(findings):
    return [(finding.check, finding.level) for finding in findings]


@pytest.mark.parametrize(
    ("kernel", "lacking"),
    [
        (Kernel(LOADED, "", has_loop=True), []),
        (Kernel("\text4\n", "kernel/fs/overlayfs/overlay.ko.zst: \nkernel/drivers/block/loop.ko:", has_loop=False), []),
        (Kernel("nodev\toverlayfs2\n\text4\n", "", has_loop=True), ["overlay"]),
        (Kernel(LOADED, "", has_loop=False), ["loop"]),
        (Kernel("", "kernel/net/xloop.kox", has_loop=False), ["ext4", "overlay", "loop"]),
    ],
)
def test_what_a_node_mounts_is_there_or_named_with_how_to_load_it(kernel, lacking):
    found = list(check_kernel(kernel, is_root=True))
    assert [finding.advice.split("`")[1] for finding in found if finding.advice] == [
        f"modprobe {one}" for one in lacking
    ]
    assert {finding.level for finding in found} == ({Level.MISSING} if lacking else {Level.OK})
    assert levels(check_kernel(kernel, is_root=False)) == [("kernel", Level.OK)]


def test_the_kernel_of_this_machine_can_be_read():
    assert Kernel.read().has("proc")


@pytest.mark.parametrize(
    ("total_gib", "slots", "level"), [(16, 2, Level.OK), (3, 2, Level.NOTICE), (3, 1, Level.OK), (1, 1, Level.MISSING)]
)
def test_memory_is_enough_for_the_builds_at_once_or_at_least_for_one(total_gib, slots, level):
    meminfo = f"MemTotal: {total_gib * GIB // 1024} kB\nMemAvailable: 1000 kB\n"
    assert check_memory(meminfo, Settings(memory_bytes=2 * GIB, slots=slots)).level is level


def test_folders_are_looked_at_where_they_would_be_made(tmp_path):
    wanted = tmp_path / "a" / "b"
    assert nearest(wanted) == tmp_path
    settings = Settings(disk_free_bytes=1, disk_clean_bytes=1)
    assert levels(check_folders(settings, {"X": wanted, "Y": tmp_path})) == [("disk", Level.OK)]
    assert not wanted.parent.exists()


@pytest.mark.parametrize(
    ("free", "clean", "level"), [(1, 1, Level.OK), (1, 2**60, Level.NOTICE), (2**60, 2**60, Level.MISSING)]
)
def test_a_disk_with_too_little_room_is_named(tmp_path, free, clean, level):
    found = list(check_folders(Settings(disk_free_bytes=free, disk_clean_bytes=clean), {"X": tmp_path}))
    assert levels(found) == [("disk", level)]
    assert str(tmp_path) in found[0].detail


def test_a_folder_that_this_user_cannot_write_is_named_with_its_setting(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    first, second = check_folders(Settings(disk_free_bytes=1), {"BUILDFARM_TOOL_DIRECTORY": tmp_path / "x"})
    assert (first.level, first.advice) == (Level.MISSING, "Name another folder in BUILDFARM_TOOL_DIRECTORY.")
    assert second.check == "disk"
    assert levels(check_folders(Settings(disk_free_bytes=1), {"": tmp_path})) == [("disk", Level.OK)]


def test_a_port_is_free_or_the_farms_or_taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        own = Port("127.0.0.1", number, port_taken("redis", number), lambda: True)
        others = Port("127.0.0.1", number, port_taken("redis", number), lambda: False)
        assert levels(check_ports([own])) == [("ports", Level.OK)]
        (found,) = check_ports([own, others])
        assert (found.level, found.detail) == (
            Level.MISSING,
            f"Port {number} of 127.0.0.1 is taken, and the farm's redis needs it.",
        )
        assert "--redis-port" in found.advice
    assert levels(check_ports([others])) == [("ports", Level.OK)]


def test_ports_of_a_container_are_read_from_the_engine():
    bindings = {"6379/tcp": [{"HostIp": "127.0.0.1", "HostPort": "6390"}], "1/tcp": None, "2/tcp": [{"HostPort": ""}]}
    assert published_ports({"HostConfig": {"PortBindings": bindings}}) == {6390}
    assert published_ports({"HostConfig": {"PortBindings": None}}) == set()


def test_a_bundle_without_certificates_or_that_is_not_there_is_named(tmp_path):
    bundle = tmp_path / "ca.crt"
    assert check_certificates(None).level is Level.NOTICE
    assert "cannot be read: No such file" in check_certificates(bundle).detail
    bundle.write_text("nothing")
    assert "has no certificate" in check_certificates(bundle).detail
    bundle.write_text("-----BEGIN CERTIFICATE-----\n" * 2)
    assert check_certificates(bundle).detail == f"2 in {bundle}"


def test_an_engine_is_judged_by_the_rules_of_a_node():
    settings = Settings()
    assert levels(check_engine(VERSION, INFO, "unix:///x", settings)) == [("engine", Level.OK), ("cgroups", Level.OK)]
    unbounded = {**INFO, "MemoryLimit": False, "PidsLimit": False, "SecurityOptions": []}
    wrong, limits = check_engine(VERSION, unbounded, "unix:///x", settings)
    assert "does not support seccomp" in wrong.detail
    assert "do not limit memory, processes" in limits.detail
    assert (wrong.level, limits.level) == (Level.MISSING, Level.NOTICE)


def test_an_engine_that_is_not_there_is_started_by_up_or_is_missing(monkeypatch):
    assert check_absent_engine("tcp://127.0.0.1:1").level is Level.MISSING
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(engine, "PROGRAMS", {"sh": "dash"})
    assert check_absent_engine(DEFAULT_DOCKER_URL).advice == "`buildfarm up` starts it."
    monkeypatch.setattr(engine, "PROGRAMS", {"no-such-program": "docker.io"})
    monkeypatch.setattr(packages, "find_program", {"apt-get": "/usr/bin/apt-get"}.get)
    assert check_absent_engine(DEFAULT_DOCKER_URL).advice == "`buildfarm up` installs and starts it."
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert check_absent_engine(DEFAULT_DOCKER_URL).level is Level.MISSING


def test_an_engine_that_cannot_be_started_from_here_is_refused_as_before():
    with pytest.raises(SetupError, match=r"tcp://127\.0\.0\.1:1 cannot be reached"):
        engine.find_engine("tcp://127.0.0.1:1", Path("/nonexistent"), print)


@pytest.mark.parametrize(
    ("has_apt", "user", "level", "told"),
    [
        (True, 0, Level.NOTICE, "`buildfarm up` installs it"),
        (True, 1000, Level.MISSING, "sudo apt-get install"),
        (False, 0, Level.MISSING, "Install it by hand"),
    ],
)
def test_a_missing_program_is_installed_by_up_or_named_with_its_package(monkeypatch, has_apt, user, level, told):
    monkeypatch.setattr(packages, "find_program", {"apt-get": "/usr/bin/apt-get"}.get if has_apt else {}.get)
    monkeypatch.setattr("os.geteuid", lambda: user)
    (found,) = check_programs({"mkfs.ext4": "e2fsprogs"})
    assert found.level is level
    assert "e2fsprogs is missing" in found.detail
    assert told in found.advice


def test_packages_that_another_process_installed_meanwhile_are_not_installed_again(monkeypatch, tmp_path):
    lock, commands = tmp_path / "lock", []
    looks = iter([["e2fsprogs"], [], ["e2fsprogs"], ["e2fsprogs"]])
    monkeypatch.setattr(packages, "LOCK", lock)
    monkeypatch.setattr(packages, "missing_packages", lambda _: next(looks))
    monkeypatch.setattr(packages, "install_obstacle", lambda _: None)
    monkeypatch.setattr(packages, "run_command", lambda command, _: commands.append((is_locked(lock), command[2])))
    packages.ensure_packages({}, print)
    assert commands == []
    packages.ensure_packages({}, print)
    assert commands == [(True, "update"), (True, "install")]


def is_locked(path):
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_an_ordinary_user_is_no_obstacle(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert check_rights().level is Level.NOTICE


def test_the_command_ends_with_3_if_something_is_missing_and_writes_nothing(tmp_path):
    variables = {"BUILDFARM_STATE_DIRECTORY": str(tmp_path), "BUILDFARM_DOCKER_URL": "tcp://127.0.0.1:1"}
    command = [sys.executable, "-m", "buildfarm", "doctor"]
    environment = {**os.environ, **variables, "HOME": str(tmp_path)}
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == Exit.SETUP, done.stderr
    told = json.loads(done.stdout)
    assert not told["ok"]
    (found,) = (finding for finding in told["findings"] if finding["check"] == "engine")
    assert found["level"] == "missing"
    assert found["advice"]
    text = subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout
    assert "missing  engine        The Docker engine at tcp://127.0.0.1:1 cannot be reached.\n" in text
    assert text.splitlines()[-1].startswith("Missing: ")
    assert list(tmp_path.iterdir()) == []

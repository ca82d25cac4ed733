"""What a node looks at before it trusts its sandboxes: each item, when it differs, is named."""

from __future__ import annotations

import copy
import json

import pytest

from workers.build_folder import BuildFolder
from workers.sandbox.self_check import (
    engine_differences,
    missing_features,
    missing_limits,
    probe_differences,
    version_in,
)
from workers.sandbox.spec import KEEPER_ID, MERGED, SandboxSpec, seccomp_profile
from workers.sandbox.workspace import Workspace

SPEC = SandboxSpec("n", "builds", 1000, 1.5, 64, 512, None)


@pytest.fixture
def workspace(tmp_path):
    folders = (BuildFolder(tmp_path / name) for name in ("app", "cache", "tmp", "layers", "merged"))
    return Workspace(*folders, own=tmp_path, owner=10_000)


@pytest.fixture
def inspected(workspace):
    """As the engine tells of a container that is as it was requested."""
    folders = {"/app": workspace.app, "/cache": workspace.cache, "/tmp": workspace.tmp, "/layers": workspace.layers}
    folders[MERGED] = workspace.merged
    mounts = [
        {"Destination": inside, "Source": folder.bind_source, "RW": True, "Propagation": "rprivate"}
        for inside, folder in folders.items()
    ]
    return {
        "Config": {"User": f"{KEEPER_ID}:{KEEPER_ID}"},
        "Mounts": mounts,
        "HostConfig": {
            "CapDrop": ["ALL"], "CapAdd": None, "Privileged": False, "ReadonlyRootfs": True, "Init": True,
            "IpcMode": "private", "NetworkMode": "builds", "Memory": 1000, "MemorySwap": 1000, "NanoCpus": 1500000000,
            "PidsLimit": 64, "UsernsMode": "", "Devices": [], "Binds": None, "OomKillDisable": False,
            "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp_profile()}"],
            "Ulimits": [{"Name": "nofile", "Soft": 512, "Hard": 512}, {"Name": "core", "Soft": 0, "Hard": 0}],
            "MaskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
        },
    }  # fmt: skip


def test_a_container_as_it_was_asked_for_differs_in_nothing(inspected, workspace):
    assert SPEC.differences(inspected, workspace) == []


@pytest.mark.parametrize(
    ("item", "value"),
    [
        ("CapDrop", None), ("CapAdd", ["SYS_ADMIN"]), ("Privileged", True), ("ReadonlyRootfs", False), ("Init", None),
        ("IpcMode", "host"), ("NetworkMode", "host"), ("Memory", 0), ("MemorySwap", -1), ("NanoCpus", 0),
        ("PidsLimit", None), ("SecurityOpt", ["no-new-privileges"]), ("Ulimits", []), ("Devices", [{"Path": "/"}]),
        ("Binds", ["/:/host"]), ("PidMode", "host"), ("OomKillDisable", True), ("VolumesFrom", ["other"]),
    ],
)  # fmt: skip
def test_each_item_that_differs_is_named(inspected, workspace, item, value):
    changed = copy.deepcopy(inspected)
    changed["HostConfig"][item] = value
    assert [found.split()[0] for found in SPEC.differences(changed, workspace)] == [item]


def test_another_mount_user_or_open_path_is_named(inspected, workspace):
    inspected["Mounts"].append(
        {"Destination": "/s", "Source": "/var/run/docker.sock", "RW": True, "Propagation": "rprivate"}
    )
    inspected["Config"]["User"] = "0:0"
    inspected["HostConfig"]["MaskedPaths"] = ["/proc/kcore", "/proc/keys"]
    found = SPEC.differences(inspected, workspace)
    assert [item.split()[0] for item in found] == ["User", "Mounts", "/sys/firmware"]


def test_the_seccomp_profile_leaves_out_what_leads_around_the_others():
    profile = json.loads(seccomp_profile())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = {
        name: rule for rule in profile["syscalls"] for name in rule["names"] if rule["action"] == "SCMP_ACT_ALLOW"
    }
    for name in (
        "io_uring_setup",
        "io_uring_enter",
        "ptrace",
        "bpf",
        "mount",
        "unshare",
        "socketcall",
        "setns",
        "kcmp",
    ):
        assert name not in allowed
    families = [
        rule["args"][0]["value"] for rule in profile["syscalls"] if "socket" in rule["names"] and len(rule["args"]) == 1
    ]
    assert sorted(families) == [1, 2, 10, 16]  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
    assert {"execve", "openat", "clone"} <= set(allowed)


VERSION = {"Components": [{"Name": "Engine", "Version": "20.10.24+dfsg1"}, {"Name": "runc", "Version": "1.1.5+ds1"}]}
INFO = {"SecurityOptions": ["name=seccomp,profile=default"]}


def test_versions_are_read_and_old_ones_named():
    assert version_in(VERSION, "runc") == (1, 1, 5)
    assert version_in(VERSION, "crun") == ()
    assert engine_differences(VERSION, INFO, user_namespace=False) == []
    old = {"Components": [{"Name": "Engine", "Version": "19.03.1"}, {"Name": "runc", "Version": "1.0.0-rc93"}]}
    engine, runc = engine_differences(old, INFO, user_namespace=False)
    assert engine == "Engine is 19.3.1, older than 20.10.0 (update the package docker.io)"
    assert runc.endswith("(update the package runc)")


def test_an_engine_without_seccomp_or_with_an_unexpected_user_namespace_is_named():
    assert engine_differences(VERSION, {"SecurityOptions": []}, user_namespace=False) == [
        "the engine does not support seccomp (its kernel needs CONFIG_SECCOMP_FILTER)"
    ]
    remapped = {"SecurityOptions": ["name=seccomp,profile=default", "name=userns"]}
    assert "has a user namespace" in engine_differences(VERSION, remapped, user_namespace=False)[0]
    assert engine_differences(VERSION, remapped, user_namespace=True) == []


def test_limits_that_the_kernel_does_not_enforce_are_named_and_those_that_an_engine_does_not_report_are_not():
    assert missing_limits({"MemoryLimit": True, "SwapLimit": False, "CpuCfsQuota": True}) == ["swap"]
    assert missing_limits({}) == []


GOOD = (
    "Uid:\t10000\t10000\t10000\t10000\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n"
    "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    "Probe: done\n"
)


def test_a_probe_that_can_do_nothing_is_as_it_should_be():
    assert probe_differences(GOOD, 10_000, "") == []
    assert probe_differences(GOOD.replace("Seccomp:\t2", "Seccomp:\t0"), 10_000, "runsc") == []


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (GOOD.replace("Seccomp:\t2", "Seccomp:\t0"), "Seccomp is 0"),
        (GOOD.replace("CapBnd:\t0000000000000000", "CapBnd:\t00000000a80425fb"), "CapBnd is 00000000a80425fb"),
        (GOOD.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0"), "NoNewPrivs"),
        (GOOD.replace("10000", "0"), "Uid"),
        (GOOD + "Written: /usr\n", "write to /usr"),
        (GOOD + "Socket: there\n", "socket"),
        (GOOD + "Node: reached\n", "reached a port"),
        ("", "did not finish"),
    ],
)
def test_what_a_probe_could_do_is_named(output, told):
    (found,) = probe_differences(output, 10_000, "")
    assert told in found


def test_what_the_kernel_lacks_for_a_workspace_is_named_with_its_module(tmp_path):
    control = tmp_path / "loop-control"
    assert missing_features("nodev\tproc\n\text4\nnodev\toverlay\n", tmp_path) == []
    ext4, loop = missing_features("nodev\tproc\nnodev\toverlay\n", control)
    assert ext4 == "the kernel has no ext4 (run `modprobe ext4`)"
    assert loop.startswith(f"{control} is missing")

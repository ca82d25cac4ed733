"""A node's build tools, over a real socket to a registry that fails on demand."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import tarfile
import time
from dataclasses import replace

import pytest

from buildfarm.errors import NodeStopped, RegistryError
from buildfarm.oci.image import EMPTY_CONFIG, artifact
from buildfarm.oci.manifest import Descriptor, media_types
from buildfarm.oci.registry import Registry
from buildfarm.recipes.catalogue import ARTIFACT_TYPE, MACHINE, UNPACKED_BYTES
from testkit.registry.fake import FakeRegistry
from workers.sandbox.tools.store import NoToolError, ToolStore, _locked

IDLE_SECONDS = 100
PROGRAM = b"#!/bin/sh\necho go\n" * 100


@pytest.fixture
def served():
    with FakeRegistry() as served:
        yield served


@pytest.fixture
def store(served, tmp_path):
    with Registry(f"http://{served.host}", attempts=1) as registry:
        store = ToolStore(registry, tmp_path / "tools", 10_000, IDLE_SECONDS, machine="x86_64")
        store.open()
        yield store


def packed(*names, content=PROGRAM):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.type, info.mode = (tarfile.REGTYPE, 0o755) if "." in name else (tarfile.DIRTYPE, 0o755)
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return file.getvalue()


def push(registry, name="go", version="1.2.3", archive=None, kind=ARTIFACT_TYPE, **annotations):
    repository, types = f"tools/{name}", media_types("oci")
    archive = packed("tool", "tool/go.sh") if archive is None else archive
    blob = Descriptor(types.layers["gzip"], registry.put_blob(repository, archive), len(archive))
    registry.put_blob(repository, EMPTY_CONFIG)
    about = {MACHINE: "x86_64", UNPACKED_BYTES: str(len(PROGRAM)), **annotations}
    return registry.put_manifest(repository, artifact(kind, [blob], annotations=about), types.manifest, tag=version)


def blobs_read(served):
    return sum("GET" in line and "/blobs/" in line for line in served.log)


def idle(store, folder):
    """As if no build had requested it for a long time."""
    past = time.time() - IDLE_SECONDS - 1
    os.utime(store.ready / folder, (past, past))


def test_a_tool_is_fetched_once_and_named_by_its_digest(store, served):
    digest = push(store.registry)
    folder = store.provide("go", "1.2.3")
    assert folder == f"go/1.2.3-{digest.hex[:12]}"
    assert (store.ready / folder / "go.sh").read_bytes() == PROGRAM
    assert store.provide("go", "1.2.3") == folder
    assert blobs_read(served) == 1
    assert [path.name for path in store.directory.iterdir()] == ["ready"]


def test_builds_can_read_it_whatever_the_umask_is(store):
    push(store.registry)
    before = os.umask(0o077)
    try:
        folder = store.provide("go", "1.2.3")
    finally:
        os.umask(before)
    for path in (store.ready / folder / "go.sh", store.ready / folder, (store.ready / folder).parent, store.ready):
        assert path.stat().st_mode & 0o777 == 0o755, path


def test_another_artifact_of_the_same_version_lies_beside_the_first(store):
    push(store.registry)
    first = store.provide("go", "1.2.3")
    push(store.registry, archive=packed("tool", "tool/new.sh"))
    second = store.provide("go", "1.2.3")
    assert first != second
    assert (store.ready / first / "go.sh").exists()
    assert (store.ready / second / "new.sh").exists()


def test_a_copy_that_was_lost_is_fetched_again(store, served):
    push(store.registry)
    folder = store.provide("go", "1.2.3")
    (store.ready / folder).rename(store.directory.parent / "lost")
    assert store.provide("go", "1.2.3") == folder
    assert (store.ready / folder / "go.sh").exists()
    assert blobs_read(served) == 2


def test_a_tool_that_was_never_made(store):
    with pytest.raises(NoToolError, match="it is not in the registry") as raised:
        store.provide("go", "1.2.3")
    assert "buildfarm tools make go@1.2.3" in raised.value.advice


@pytest.mark.parametrize(
    ("artifact_", "reason"),
    [
        ({"archive": b"no archive"}, "not a complete archive"),
        ({"archive": packed("tool", "tool/../../x.sh")}, "not a plain path"),
        ({UNPACKED_BYTES: "5"}, "more than 5 bytes"),
        ({UNPACKED_BYTES: str(1 << 40)}, "is larger than"),
        ({UNPACKED_BYTES: "many"}, "refused"),
        ({MACHINE: "aarch64"}, "made for aarch64, and this node is x86_64"),
        ({"kind": "application/vnd.buildfarm.cache.v1"}, "not a build tool"),
    ],
)
def test_a_damaged_artifact_is_refused_and_leaves_nothing(store, artifact_, reason):
    push(store.registry, **artifact_)
    with pytest.raises(NoToolError, match=reason):
        store.provide("go", "1.2.3")
    assert [path.name for path in store.directory.iterdir()] == ["ready"]
    assert not list(store.ready.glob("*/*"))


@pytest.mark.parametrize("fault", ["other-content", "cut"])
def test_an_archive_that_changes_on_the_way_is_never_ready(store, served, fault):
    push(store.registry)
    manifest = store.registry.read_manifest("tools/go", "1.2.3")[0]
    served.faults.append(("GET", fault))
    with pytest.raises((NoToolError, RegistryError)):
        store._fetch("tools/go", manifest.layers[0], len(PROGRAM), "go/1.2.3-0")
    assert not list(store.ready.glob("*/*"))
    assert store.provide("go", "1.2.3")


def test_a_stopped_attempt_leaves_nothing(store):
    push(store.registry)

    def stop():
        raise NodeStopped("The node was stopped.")

    with pytest.raises(NodeStopped):
        store.during(stop).provide("go", "1.2.3")
    assert [path.name for path in store.directory.iterdir()] == ["ready"]


def test_tools_in_use_are_never_removed(store):
    push(store.registry)
    folder = store.provide("go", "1.2.3")
    assert store.forget(1 << 40) == 0
    assert (store.ready / folder).is_dir()


def test_the_longest_unused_tool_goes_first_and_no_more_than_needed(store):
    folders = []
    for number, version in enumerate(("1.0.0", "2.0.0", "3.0.0")):
        push(store.registry, version=version, order=version)
        folders.append(store.provide("go", version))
        past = time.time() - IDLE_SECONDS - 10 + number
        os.utime(store.ready / folders[-1], (past, past))
    assert store.forget(1) == len(PROGRAM)
    assert [(store.ready / folder).is_dir() for folder in folders] == [False, True, True]
    assert store.forget(10 * len(PROGRAM)) == 2 * len(PROGRAM)
    assert [path.name for path in store.directory.iterdir()] == ["ready"]


def test_a_tool_goes_from_a_disk_that_has_no_room_for_another_folder(store, monkeypatch):
    push(store.registry)
    folder = store.provide("go", "1.2.3")
    idle(store, folder)

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "mkdir", full)
    assert store.forget(1) == len(PROGRAM)
    assert [path.name for path in store.directory.iterdir()] == ["ready"]


def test_the_limit_holds_unless_builds_use_what_is_there(store):
    store = replace(store, limit_bytes=len(PROGRAM))
    push(store.registry, version="1.0.0", order="1")
    push(store.registry, version="2.0.0", order="2")
    first = store.provide("go", "1.0.0")
    with pytest.raises(NoToolError, match="leaves no room"):
        store.provide("go", "2.0.0")
    idle(store, first)
    second = store.provide("go", "2.0.0")
    assert [(store.ready / folder).is_dir() for folder in (first, second)] == [False, True]


def test_what_a_killed_process_left_is_removed_and_what_another_is_writing_stays(store):
    for name in ("half-left", "half-used"):
        (store.directory / name / "tree").mkdir(parents=True)
    push(store.registry)
    folder = store.provide("go", "1.2.3")
    with _locked(store.directory / "half-used", fcntl.LOCK_EX):
        store.remove_partial()
    assert sorted(path.name for path in store.directory.iterdir()) == ["half-used", "ready"]
    assert (store.ready / folder).is_dir()

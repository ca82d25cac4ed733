"""The node reaches a build's files through `BuildFolder` alone, and never by a link."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import typing
from pathlib import Path

import pytest

import workers
from buildfarm.errors import CompileError, RecipeError
from buildfarm.oci.layer import hash_raw
from buildfarm.recipes.recipe import parse_recipe
from tests.unit.buildfarm.recipes.test_recipe import RECIPE
from workers.build_folder import BuildFolder, NotPlainError
from workers.export.launch_layers import LaunchLayer, LaunchLayers, plan_launch_layers
from workers.image_builds.assembly import assemble
from workers.image_builds.pipeline import read_checkout, read_recipe
from workers.sandbox.container import Ended, Sandbox
from workers.sandbox.workspace import Workspace, Workspaces

SECRET = "the node's own"


@pytest.fixture
def outside(tmp_path):
    """A folder of the node that a link could lead to."""
    outside = tmp_path / "node"
    (outside / "inner/deep").mkdir(parents=True)
    (outside / "inner/deep/file").write_text(SECRET * 1000)
    (outside / "file").write_text(SECRET)
    return outside


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "app"
    (root / "one/two").mkdir(parents=True)
    (root / "one/two/file").write_text("x" * 1000)
    (root / "file").write_text("text")
    return root


def packed(archive):
    """Names and bytes of what is archived."""
    listed = b"".join(os.fsencode(name) + b"\0" for name in archive.names)
    content = subprocess.run(archive.argv, input=listed, capture_output=True, check=True).stdout
    names = subprocess.run(["tar", "--list"], input=content, capture_output=True, check=True).stdout
    return [name.rstrip("/") for name in names.decode().splitlines()], content


@pytest.mark.parametrize("path", ["one", "one/two", "one/two/file"])
@pytest.mark.parametrize("target", ["folder", "file", "relative", "/proc/self/root", "nowhere"])
def test_a_link_at_any_component_is_refused(root, outside, path, target):
    place = root / path
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    targets = {"folder": outside / "inner", "file": outside / "file", "relative": "../../node", "nowhere": "gone"}
    place.symlink_to(targets.get(target, target))
    folder = BuildFolder(root)

    with pytest.raises(NotPlainError, match="link"):
        folder.read("one/two/file", 10_000)
    assert not folder.has_file("one/two/file")
    assert folder.may_have("one/two/file")
    if path == "one":
        with pytest.raises(NotPlainError):
            folder.folder("one")
    names, content = packed(folder.archive(folder.scan().found, owner=0))
    assert f"app/{path}" in names
    assert not [name for name in names if name.startswith(f"app/{path}/")]
    assert SECRET.encode() not in content


def test_a_plain_file_is_read_up_to_its_limit(root):
    folder = BuildFolder(root)
    assert folder.read("one/two/file", 1000) == b"x" * 1000
    assert folder.read("one/none", 1000) is None
    with pytest.raises(NotPlainError, match="larger"):
        folder.read("one/two/file", 999)
    with pytest.raises(NotPlainError, match="not a plain file"):
        folder.read("one", 1000)
    assert folder.has_file("file")
    assert not folder.may_have("one/three")


@pytest.mark.timeout(10)
def test_a_pipe_is_not_waited_for(root):
    os.mkfifo(root / "pipe")
    with pytest.raises(NotPlainError, match="not a plain file"):
        BuildFolder(root).read("pipe", 1000)


@pytest.mark.parametrize("path", ["../node/file", "one/../file", "./file", "", "/etc/passwd", "one//two", "\0"])
def test_a_path_does_not_lead_out(root, outside, path):
    with pytest.raises(NotPlainError):
        BuildFolder(root).read(path, 1000)


def test_a_folder_of_its_own_is_found_by_its_name_only(root):
    inner = BuildFolder(root).folder("one")
    assert inner.read("two/file", 1000)
    assert [item.name for item in inner.scan().found] == ["one", "one/two", "one/two/file"]
    for name in ("file", "gone", "one/two", ".."):
        with pytest.raises(NotPlainError):
            BuildFolder(root).folder(name)


@pytest.mark.parametrize("linked", ["layers/pack", "layers/pack/caches", None])
def test_a_launch_layer_is_a_plain_folder_or_the_apps_fault(tmp_path, outside, linked):
    layer = tmp_path / "layers/pack/caches"
    layer.mkdir(parents=True)
    (layer / "own").write_text("own")
    (outside / "caches").mkdir()
    if linked:
        shutil.rmtree(tmp_path / linked)
        (tmp_path / linked).symlink_to(outside)
    root = BuildFolder(tmp_path / "layers")
    launch = LaunchLayers(root, (LaunchLayer("pack/caches", "pack:caches"),), ())
    if linked:
        with pytest.raises(CompileError, match="pack:caches"):
            plan_launch_layers(launch, root.scan().found)
    else:
        planned, _ = plan_launch_layers(launch, root.scan().found)
        archive = root.archive(planned.found, owner=1000)
        assert archive.names == ["layers", "layers/pack", "layers/pack/caches", "layers/pack/caches/own"]
        # Images must not change: these are the bytes of tar's own walk, by which such layers were made before.
        walk = ["--no-recursion", "layers", "layers/pack", "--recursion", "layers/pack/caches"]
        by_walk = [*archive.argv[: archive.argv.index("--null")], *walk]
        assert hash_raw(archive.argv, names=archive.names) == hash_raw(by_walk)


@pytest.fixture
def workspace(tmp_path):
    """Of a node that is not root: plain folders."""
    folders = [tmp_path / name for name in ("app", "cache", "tmp", "layers", "merged", "node")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    *built, own = folders
    return Workspace(*map(BuildFolder, built), own=own, owner=1)


@pytest.mark.parametrize("target", ["folder", "file", "nowhere"])
def test_a_recipe_that_leads_elsewhere_is_refused(tmp_path, outside, workspace, target):
    to = {"folder": outside / "inner", "file": outside / "file", "nowhere": "gone"}[target]
    for name in ("recipe.toml", "checkout"):
        (tmp_path / "app" / name).symlink_to(to)
    with pytest.raises(RecipeError, match=r"recipe.toml is a symbolic link"):
        read_recipe(workspace)
    with pytest.raises(RecipeError, match="checkout is not in plain folders"):
        read_checkout(workspace)


@pytest.mark.parametrize("linked", ["report.json", "tree"])
def test_a_recipes_tree_or_report_that_leads_elsewhere_is_refused(tmp_path, outside, workspace, linked):
    class Dead(Sandbox):
        def run(self, command, **_):
            return Ended(0)

        def kill(self):
            pass

    report, tree = tmp_path / "cache/report.json", tmp_path / "cache/tree"
    report.write_text(json.dumps({"packages": [], "made": "compiled"}))
    tree.mkdir()
    plan = parse_recipe(RECIPE.encode()).plan("1")
    assert assemble(plan, Dead(None, "", 0, 0, ""), workspace).tree.name == "tree"
    tree.rmdir() if linked == "tree" else report.unlink()
    (tmp_path / "cache" / linked).symlink_to(outside / {"tree": "inner", "report.json": "file"}[linked])
    with pytest.raises(RecipeError, match="report or the tree"):
        assemble(plan, Dead(None, "", 0, 0, ""), workspace)


# Removing a plain folder, that of a node which is not root, goes from descriptor to descriptor as well.
def test_a_workspace_is_removed_without_following_its_links(tmp_path, outside, monkeypatch):
    assert shutil.rmtree.avoids_symlink_attacks
    monkeypatch.setattr(os, "geteuid", lambda: 1234)  # workspaces are plain folders
    monkeypatch.setattr(os, "chown", lambda *_: None)
    workspaces = Workspaces(tmp_path / "workspaces", 1, 1)
    with workspaces.make("build") as workspace:
        Path(workspace.app.bind_source, "link").symlink_to(outside)
    assert workspaces.left_behind() == []
    assert (outside / "file").read_text() == SECRET


# The rest of this module reads the source: what no other module may do.

WORKERS = Path(workers.__file__).parent
MODULES = {str(path.relative_to(WORKERS)): ast.parse(path.read_text()) for path in sorted(WORKERS.rglob("*.py"))}
DOOR = "build_folder.py"

# Modules that touch files, and what these are: never what a build left. A new one belongs here with its reason.
OWN_FILES = {
    "build_folder.py": "the door",
    "buildpacks/buildpack_cache.py": "archives of buildpacks, kept under their digests",
    "sandbox/pauses/counters.py": "counters of the kernel",
    "sandbox/tools/store.py": "build tools that the farm made, by the beginnings of their digests",
    "sandbox/tools/archive.py": "their archives, verified by their digests, of which only files and folders are taken",
    "caches/copies.py": "copies of caches, kept under their digests",
    "caches/facts/bundle.py": "the inspector's own modules",
    "caches/facts/inspector/components/java.py": "it runs in a sandbox: a jar in memory",
    "caches/facts/inspector/main.py": "it runs in a sandbox: the layer as a stream, and a temporary file",
    "caches/facts/inspector/runtimes.py": "it runs in a sandbox: a jar in memory",
    "caches/snapshots.py": "where the snapshots are, none of whose files it opens",
    "image_builds/dockerfile.py": "the CA bundle of the settings",
    "export/secret_scan.py": "the archive of a layer, as a stream in memory",
    "fetch/__init__.py": "an archive of config vars in memory",
    "fetch/inside/git.py": "it runs in a fetching sandbox",
    "fetch/inside/lfs/authenticate.py": "it runs in a fetching sandbox",
    "fetch/inside/lfs/files.py": "it runs in a fetching sandbox",
    "fetch/inside/lfs/server.py": "it runs in a fetching sandbox",
    "fetch/inside/oci.py": "it runs in a fetching sandbox",
    "sandbox/self_check.py": "the kernel's file systems and control groups, from /proc and /sys",
    "sandbox/firewall.py": "iptables, and the node's /etc/resolv.conf",
    "image_builds/slim.py": "the image under test, in the workspace's folder of the node",
    "upkeep/disk.py": "how full the disks are",
    "upkeep/pool_upkeep.py": "this machine's memory, from /proc",
    "node.py": "the lock of the node's name",
    "wiring.py": "the node's folders",
    "upkeep/collection.py": "the registry's files, and the process that collects their garbage",
    "upkeep/step_images.py": "the node's own notes of images",
    "upkeep/pod.py": "the credentials of the pod",
    "image_builds/from_engine.py": "the engine's archive of an image, in the workspace's folder of the node",
    "image_builds/smoke.py": "the password and the image under test, in the workspace's folder of the node",
    "sandbox/mounts.py": "mounts, and the maps of user namespaces in /proc",
    "sandbox/overlay.py": "the raw upper tree of an overlay, after it was frozen: names and attributes",
    "attempt/spool.py": "the log of an attempt, in the node's folder of logs",
    "upkeep/spools.py": "the node's folder of logs, in which names are digests",
    "sandbox/network.py": "the route out and its MTU, from /proc and /sys",
    "sandbox/spec.py": "the seccomp profile",
    "sandbox/workspace.py": "makes, mounts, freezes and removes workspaces, without a running sandbox",
}
FILE_CALLS = {
    "open", "read_text", "read_bytes", "write_text", "write_bytes", "iterdir", "glob", "rglob", "unlink", "rename",
    "mkdir", "rmdir", "is_file", "is_dir", "is_symlink", "is_mount", "exists", "resolve", "chmod",
    "touch", "symlink_to", "hardlink_to", "readlink", "lstat", "samefile", "extractall", "copyfile", "copytree",
}  # fmt: skip
FILE_MODULES = {"os", "shutil", "subprocess", "tempfile", "glob", "tarfile"}
HARMLESS_IN_OS = {"environ", "cpu_count", "getpid", "kill", "_exit", "fsencode", "fsdecode"}


def used(tree):
    """Attributes and names that a module uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.name


def touches_files(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in FILE_MODULES:
            if node.value.id == "os" and node.attr in HARMLESS_IN_OS:
                continue
            yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in FILE_CALLS:
                yield name
        elif isinstance(node, ast.ImportFrom) and node.module in FILE_MODULES:
            yield f"from {node.module}"


def users_of(name):
    return {module for module, tree in MODULES.items() if name in used(tree)}


def test_a_workspaces_folders_are_build_folders():
    types = typing.get_type_hints(Workspace)
    assert {name for name, kind in types.items() if kind is BuildFolder} == {"app", "cache", "tmp", "layers", "merged"}
    # Beside them are only the node's own folder, and where the file system is mounted.
    assert {name for name, kind in types.items() if "Path" in str(kind)} == {"own", "mount"}
    assert not issubclass(BuildFolder, os.PathLike)


def test_no_module_but_the_door_knows_where_a_builds_files_are():
    assert users_of("_place") == {DOOR}
    assert users_of("bind_source") == {"sandbox/spec.py", "sandbox/overlay.py", "sandbox/workspace.py"}


def test_no_module_but_the_door_scans_or_archives_what_a_build_left():
    for name in ("scan", "tree_names"):
        importing = {
            module
            for module, tree in MODULES.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and node.module == "buildfarm.oci.tree"
            and name in {alias.name for alias in node.names}
        }
        assert importing <= {DOOR}
    assert users_of("tar_command") == {DOOR}


def test_modules_that_touch_files_are_known_with_what_these_are():
    touching = {module: sorted(set(found)) for module, tree in MODULES.items() if (found := [*touches_files(tree)])}
    unknown = {name: found for name, found in touching.items() if name not in OWN_FILES}
    assert not unknown
    assert set(OWN_FILES) <= set(touching), "a module that touches no files any more"


def test_the_door_archives_only_names_and_walks_nothing():
    commands = [node for node in ast.walk(MODULES[DOOR]) if isinstance(node, ast.Call)]
    named = [node for node in commands if getattr(node.func, "id", "") == "tar_command"]
    assert len(named) == 1
    for call in named:
        assert {item.arg: getattr(item.value, "value", None) for item in call.keywords}["names"] is True

"""A tool's files become one artifact, the same for the same files."""

from __future__ import annotations

import os

import pytest

from buildfarm.errors import RecipeError
from buildfarm.recipes.catalogue import ARTIFACT_TYPE, MACHINE, PACKAGE, UNPACKED_BYTES, own_catalogue
from workers.build_folder import BuildFolder
from workers.image_builds.tool import send_layer, send_manifest
from workers.sandbox.tools.store import ToolStore

PLAN = own_catalogue().plan("pnpm", "10.34.9", "x86_64")


def tree(root, seconds, mode):
    """The same files as another process would leave them: other times, another umask."""
    (root / "tool/bin").mkdir(parents=True)
    (root / "tool/bin/pnpm.cjs").write_text("program")
    (root / "tool/bin/pnpm.cjs").chmod(0o755 & mode)
    (root / "tool/README").write_text("text")
    for path in sorted((root / "tool").rglob("*"), reverse=True):
        os.utime(path, (seconds, seconds))
    return BuildFolder(root / "tool")


def send(registry, folder):
    return send_manifest(registry, "tools/pnpm", PLAN, send_layer(registry, "tools/pnpm", folder, threads=2))


def test_the_same_files_are_the_same_artifact(registry, tmp_path):
    first = send(registry, tree(tmp_path / "a", 1000, 0o777))
    assert send(registry, tree(tmp_path / "b", 9_999_999, 0o700)) == first


def test_the_artifact_says_what_it_is_and_a_node_can_use_it(registry, tmp_path):
    digest = send(registry, tree(tmp_path / "a", 1000, 0o777))
    manifest, _ = registry.read_manifest("tools/pnpm", digest)
    assert manifest.artifact_type == ARTIFACT_TYPE
    assert manifest.annotations[MACHINE] == "any"
    assert manifest.annotations[PACKAGE] == f"npm:pnpm@10.34.9#{PLAN.integrity}"
    store = ToolStore(registry, tmp_path / "tools", 1 << 20, 1)
    store.open()
    store._fetch("tools/pnpm", manifest.layers[0], int(manifest.annotations[UNPACKED_BYTES]), "pnpm/10.34.9-0")
    assert (store.ready / "pnpm/10.34.9-0/bin/pnpm.cjs").read_text() == "program"


def test_a_link_in_it_is_refused(registry, tmp_path):
    folder = tree(tmp_path / "a", 1000, 0o777)
    (tmp_path / "a/tool/link").symlink_to("/etc/passwd")
    with pytest.raises(RecipeError, match="other than files and folders: tool/link"):
        send(registry, folder)

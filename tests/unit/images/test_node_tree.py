"""What the nodejs buildpack finds of a build script's changes in node_modules."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

TREE = Path(__file__).parents[3] / "images/buildpacks/nodejs/lib/tree.sh"

SCRIPT = """
set -euo pipefail
cd "$1"
source <(sed "s|/tmp/nodejs.installed|$1/installed|" "$2")
parts=(node_modules)
: >installed
while [ -z "$(find . -maxdepth 1 -name later -cnewer installed)" ]; do : >later; done
before=$(marks)
eval "$3"
drop_caches
if [ "$(marks)" = "$before" ]; then echo alone; else echo touched; fi
"""

# As after a restore that moved the saved trees. What is deeper in them takes an overlay: tests/integration/buildpacks.
MOVED = """
set -euo pipefail
cd "$1"
source <(sed "s|/tmp/nodejs|$1/nodejs|" "$2")
cache=$1.cache saved=$1.cache/kept/node_modules made_locks=() manager_linker="" installed_marks="not looked at"
find_parts
mkdir -p "$saved" && printf '%s\\0' "${parts[@]}" >"$saved/parts"
mkdir "$saved/tree" && cp -a --parents --target-directory "$saved/tree" "${parts[@]}"
: >nodejs.moved
: >nodejs.installed
while [ -z "$(find . -maxdepth 1 -name later -cnewer nodejs.installed)" ]; do : >later; done
eval "$3"
find_parts
drop_caches
if left_alone; then echo alone; else echo touched; fi
"""


@pytest.fixture
def verdict(tmp_path):
    def after(change, script=SCRIPT):
        for package in ("a", "b"):
            folder = tmp_path / "node_modules" / package / "lib"
            folder.mkdir(parents=True)
            (folder / "index.js").write_text("x")
        (tmp_path / "node_modules/.package-lock.json").touch()
        (tmp_path / "fork/lib").mkdir(parents=True)
        (tmp_path / "fork/lib/index.js").write_text("y")
        command = ["bash", "-c", script, "bash", tmp_path, TREE, change]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    return after


@pytest.mark.parametrize(
    "change",
    [
        "echo z >node_modules/a/lib/index.js",
        ": >node_modules/a/lib/new.js",
        "rm node_modules/a/lib/index.js",
        "mv node_modules/a node_modules/c",
        "mv node_modules/a/lib node_modules/b/lib2",
        "mv node_modules/a c && mv node_modules/b node_modules/a && mv c node_modules/b",
        "rm -r node_modules/a && mv fork node_modules/a",
        "chmod 700 node_modules/a",
    ],
)
def test_what_a_script_changes_is_found(verdict, change):
    assert verdict(change) == "touched"


@pytest.mark.parametrize("change", ["true", "mkdir -p node_modules/.vite/deps && : >node_modules/.vite/deps/a"])
def test_a_tree_that_was_left_alone_is_taken_as_it_was(verdict, change):
    assert verdict(change) == "alone"


@pytest.mark.parametrize(
    "change",
    [
        ": >node_modules/new",
        "rm -r node_modules/a",
        "rm node_modules/.package-lock.json",
        "mv node_modules/a node_modules/c",
        "mv node_modules/a c && mv node_modules/b node_modules/a && mv c node_modules/b",
        "rm -r node_modules/a && mv fork node_modules/a",
        "mkdir node_modules/node_modules",
        "mkdir -p packages/x/node_modules",
        "rm -r node_modules",
    ],
)
def test_a_change_at_the_top_of_a_moved_tree_is_found(verdict, change):
    assert verdict(change, MOVED) == "touched"


@pytest.mark.parametrize(
    "change",
    [
        "true",
        "mkdir -p node_modules/.vite/deps && : >node_modules/.vite/deps/a",
        "mkdir -p node_modules/.cache/x node_modules/.vite-temp && : >node_modules/.vite-temp/a",
    ],
)
def test_a_moved_tree_that_was_left_alone_is_taken_as_it_was(verdict, change):
    assert verdict(change, MOVED) == "alone"

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


@pytest.fixture
def verdict(tmp_path):
    def after(change):
        for package in ("a", "b"):
            folder = tmp_path / "node_modules" / package / "lib"
            folder.mkdir(parents=True)
            (folder / "index.js").write_text("x")
        (tmp_path / "fork/lib").mkdir(parents=True)
        (tmp_path / "fork/lib/index.js").write_text("y")
        command = ["bash", "-c", SCRIPT, "bash", tmp_path, TREE, change]
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

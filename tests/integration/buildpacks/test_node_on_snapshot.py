"""What the nodejs buildpack finds of changes in packages that it moved from a snapshot, on the node's own overlay."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from testkit.builds import write_files
from workers.sandbox.overlay import lay_over
from workers.sandbox.workspace import Workspaces

ROOT = Path(__file__).parents[3]
INSTALL = r"""
set -euo pipefail
cd "$1"
# The places that these have in a sandbox
part() {
  sed "s|/tmp/nodejs|$merged/nodejs|; s|merged=/run/.*|merged=$merged|; s|[$]{1#/cache/}|\${1#$merged/cache/}|
    s|/app/[*]|$merged/app/*|; s|[$]merged[$]target|\$target|" "$1"
}
part "$root/images/builder/root/usr/lib/buildfarm/keep" >keep.sh && chmod +x keep.sh
source <(part "$root/images/buildpacks/nodejs/lib/tree.sh")
mv keep.sh "$merged" && keep=$merged/keep.sh
build=$1 cache=$merged/cache key=k kept=true makes_lock=false lock_key="" known="" installed_marks="" manager_linker=""
installing="npm ci" pruning="npm prune" made_locks=()
make_key() { key=k; }
install_dependencies
[ "$known" = 1 ] && [ -e "$merged/nodejs.moved" ]
# A change within the same tick of the clock as the installing would not be seen.
while [ -z "$(find "$merged" -maxdepth 1 -name later -cnewer "$merged/nodejs.installed")" ]; do : >"$merged/later"; done
"""
VERDICT = """
find_parts
drop_caches
if left_alone; then echo alone; else echo touched; fi
"""


@pytest.fixture
def verdict(tmp_path):
    """``verdict(change)`` is what the buildpack finds after this change of packages that came from a snapshot."""
    if os.geteuid() != 0:
        pytest.skip("to mount takes root")
    kept = "kept/node_modules"
    packages = ("a/lib/index.js", "a/package.json", "b/node_modules/c/index.js", ".package-lock.json")
    trees = [f"{place}/{kept}/tree/node_modules" for place in ("cache", "spare")]
    saved = {f"{tree}/{name}": "x" for tree in trees for name in packages}
    noted = {"key": "k", "parts": "node_modules\0", "marks": "not what a search of all packages would find"}
    saved |= {f"cache/{kept}/{name}": text for name, text in noted.items()}
    snapshot = write_files(tmp_path / "snapshot", saved)
    (snapshot / "app").mkdir()
    with ExitStack() as stack:
        workspace = stack.enter_context(Workspaces(tmp_path / "workspaces", 50_000_000, 1000).make("one"))
        lay_over(workspace, "s", snapshot, 0)
        merged = workspace.merged.bind_source

        def after(change: str) -> str:
            done = subprocess.run(
                ["bash", "-c", f"{INSTALL}{change}\n{VERDICT}", "bash", f"{merged}/app"],
                env={**os.environ, "root": str(ROOT), "merged": merged}, check=True, capture_output=True, text=True,
            )  # fmt: skip
            return done.stdout.splitlines()[-1]

        yield after


@pytest.mark.parametrize(
    "change",
    [
        "echo y >node_modules/a/lib/index.js",
        "echo more >>node_modules/b/node_modules/c/index.js",
        "printf y | dd of=node_modules/a/lib/index.js conv=notrunc status=none",
        "touch -d @1 node_modules/a/lib/index.js",
        ": >node_modules/a/lib/new.js",
        "rm node_modules/a/lib/index.js",
        "rm -r node_modules/b/node_modules/c",
        "rm -r node_modules/a",
        "chmod 700 node_modules/a/lib",
        "mv node_modules/a node_modules/c",
        "mv node_modules/b/node_modules/c node_modules/c",
        "ln node_modules/a/lib/index.js linked && echo y >>linked",
        "mkdir node_modules/node_modules",
        "rm -r node_modules && cp -a $cache/kept/node_modules/tree/node_modules .",
    ],
)
def test_every_change_of_packages_is_found(verdict, change):
    assert verdict(change) == "touched"


@pytest.mark.parametrize(
    "change",
    [
        "true",
        "cat node_modules/*/*/*.js >/dev/null",
        "mkdir -p node_modules/.vite/deps node_modules/.cache && : >node_modules/.vite/deps/a",
    ],
)
def test_packages_that_were_left_alone_are_not_asked_for_again(verdict, change):
    assert verdict(change) == "alone"

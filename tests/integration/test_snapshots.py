"""Builds that begin on a snapshot of their app's cache: what they see, what they change, and what is exported."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildfarm.model import State
from testkit.builds import farm_with_node, wait_for, write_files

MADE_SECONDS = 60

COMPILE = """\
#!/bin/bash
set -e
keep=/usr/lib/buildfarm/keep
cd "$1"
if grep -q ' /app overlay ' /proc/mounts; then echo "on a snapshot"; fi
if $keep restore "$2" made first made; then
  echo "made was restored"
else
  mkdir -p made/inner made/other
  for number in 1 2 3; do head -c 3000000 /dev/zero | tr '\\0' "$number" >made/inner/$number; done
  echo text >made/other/file
  ln -s ../inner/1 made/other/link
  chmod 0750 made/other
  $keep save "$2" made first made
fi
bash ./step
"""


@pytest.fixture(scope="module")
def builds():
    with farm_with_node("snapshots", BUILDFARM_WARM_SANDBOXES="1") as builds:
        yield builds


@pytest.fixture
def app(tmp_path):
    """``app(step)`` is the folder of an app that runs this step with ``made`` in place."""

    def write(step):
        folder = write_files(
            tmp_path / "app",
            {
                "bin/detect": "#!/bin/sh\necho Inline\n",
                "bin/compile": COMPILE,
                "bin/release": "#!/bin/sh\necho '---'\n",
                "Procfile": "web: sleep infinity\n",
                "step": step,
            },
        )
        for program in (folder / "bin").iterdir():
            program.chmod(0o755)
        return folder

    return write


def snapshots(builds):
    folder = builds.node.workspaces / f"{builds.node.id}.snapshots"
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def warm(builds, folder, name):
    """Has the app's cache unpacked on the node. All of these apps have the same cache, and so the same snapshot."""
    succeeded(builds, folder("true"), name)
    wait_for(lambda: snapshots(builds), MADE_SECONDS)


def succeeded(builds, folder, name):
    build = builds(folder, name)
    assert build.state is State.SUCCEEDED, builds.log(build)
    return build


def digests(build):
    return [layer.diff_id for layer in build.result.layers]


CHANGES = {
    "nothing": "true # else",
    "a file is changed": "echo more >>made/inner/2",
    "a file is added": "echo new >made/new",
    "a file is removed": "rm made/inner/3",
    "a mode is changed": "chmod 0700 made/other",
    "the folder's own mode is changed": "chmod 0700 made",
    "the folder is renamed": "mv made elsewhere",
    "the folder is renamed and one of its name is there": "mv made elsewhere; mkdir made; echo mine >made/mine",
    "the folder is removed and made again": "rm -r made; mkdir made; echo mine >made/mine",
    "a folder in it becomes a file": "rm -r made/other; echo file >made/other",
    "a folder in it becomes a link": "rm -r made/other; ln -s inner made/other",
    "a folder in it moves out": "mv made/inner inner",
    "a folder of the source moves in": "mkdir own; echo own >own/file; mv own made/own",
    "a hard link into it": "ln made/inner/1 one",
    "its times are changed": "touch -d 2020-01-01 made made/inner/1",
    "the app's folder is replaced behind its mount": (
        "mv /run/buildfarm/merged/app /run/buildfarm/merged/x 2>&1; mkdir -p /run/buildfarm/merged/app 2>&1; true"
    ),
}


@pytest.mark.parametrize("step", CHANGES.values(), ids=CHANGES.keys())
def test_an_image_is_the_same_as_without_a_snapshot(builds, app, step):
    name = f"change-{list(CHANGES.values()).index(step)}"
    warm(builds, app, name)
    succeeded(builds, app("true # once more, so that the folder is known"), name)
    build = succeeded(builds, app(step), name)
    log = builds.log(build)
    assert "on a snapshot" in log and "made was restored" in log
    cold = succeeded(builds, app(step), f"{name}-cold")
    assert "on a snapshot" not in builds.log(cold)
    assert digests(build) == digests(cold)


def test_a_failed_build_leaves_nothing_in_the_snapshot(builds, app):
    warm(builds, app, "failed")
    spoil = (
        "rm -r made /cache/kept/*/tree/inner; echo spoilt >/cache/spoilt; echo x >/run/buildfarm/merged/spare/x; false"
    )
    assert builds(app(spoil), "failed").state is State.FAILED
    build = succeeded(builds, app("ls -R made /cache /run/buildfarm/merged/spare"), "failed")
    log = builds.log(build)
    assert "made was restored" in log and "spoilt" not in log and log.count("inner") >= 2


def test_a_second_build_of_the_app_at_once_has_its_own_changes(builds, app):
    warm(builds, app, "twice")
    source = [builds.farm.pack(app(f"echo {n} >made/mine; sleep 1; cat made/mine"), builds.tenant)[0] for n in "12"]
    ids = [builds.submit(source=each, app="twice", run_policy="all") for each in source]
    ended = [builds.ended(each) for each in ids]
    assert [builds.log(build).splitlines()[-2] for build in ended] == ["1", "2"]


def test_a_changed_cache_is_saved_and_the_next_build_has_it(builds, app):
    warm(builds, app, "saved")
    before = snapshots(builds)
    succeeded(builds, app("echo kept >/cache/more"), "saved")
    wait_for(lambda: snapshots(builds) - before, MADE_SECONDS)
    build = succeeded(builds, app("cat /cache/more; rm -r /cache/kept"), "saved")
    assert "kept" in builds.log(build).splitlines()


def test_nothing_is_left_mounted(app):
    with farm_with_node("snapshots-end", BUILDFARM_WARM_SANDBOXES="0") as builds:
        warm(builds, app, "app")
        succeeded(builds, app("true # on it"), "app")
        assert snapshots(builds)
        folder = f"{builds.node.workspaces}/{builds.node.id}"
        node = builds.node
    assert folder not in Path("/proc/mounts").read_text()
    assert not list(node.workspaces.glob(f"{node.id}.snapshots/*"))


def test_as_many_are_kept_as_may_be(app):
    with farm_with_node("snapshots-few", BUILDFARM_SNAPSHOT_BYTES=str(30 * 1024 * 1024)) as builds:
        for name in ("one", "two", "three"):
            before = snapshots(builds)
            succeeded(builds, app("head -c 9000000 /dev/urandom >/cache/own"), name)
            wait_for(lambda: snapshots(builds) - before, MADE_SECONDS)  # noqa: B023
        wait_for(lambda: len(snapshots(builds)) == 1, 5)
        build = succeeded(builds, app("true"), "one")
        assert "on a snapshot" not in builds.log(build) and "made was restored" in builds.log(build)


def test_a_node_without_snapshots_unpacks(app):
    with farm_with_node("snapshots-none", BUILDFARM_SNAPSHOT_BYTES="0") as builds:
        succeeded(builds, app("true"), "app")
        build = succeeded(builds, app("true # again"), "app")
        assert "made was restored" in builds.log(build) and "on a snapshot" not in builds.log(build)
        assert not snapshots(builds)

"""Builds that begin on a snapshot of their app's cache: what they see, what they change, and what is exported."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import pytest

from buildfarm.errors import NodeError
from buildfarm.model import State
from localfarm.farm import clean_up
from testkit.builds import farm_with_node, wait_for, write_files
from workers.build_folder import BuildFolder
from workers.engine import open_engine
from workers.sandbox.overlay import lay_over
from workers.sandbox.workspace import Workspaces

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
STEP = '#!/bin/bash\nset -e\ncd "$1"\n. ./step\n'


@pytest.fixture(scope="module")
def builds():
    with farm_with_node("snapshots", BUILDFARM_WARM_SANDBOXES="1") as builds:
        yield builds


@pytest.fixture
def app(tmp_path):
    """``app(step)`` is the folder of an app that runs this step with ``made`` in place."""

    def write(step, compile=COMPILE):
        folder = write_files(
            tmp_path / "app",
            {
                "bin/detect": "#!/bin/sh\necho Inline\n",
                "bin/compile": compile,
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


def by_origin(build):
    return {layer.origin: layer.diff_id for layer in build.result.layers if layer.origin != "builder"}


# Bash, beside "$M", a folder that was restored; "$E" is a name where nothing is.
CHANGES = {
    "nothing": ":",
    "a file is changed": 'echo more >>"$M/inner/2"',
    "a file is added": 'echo new >"$M/new"',
    "a file is removed": 'rm "$M/inner/3"',
    "a mode is changed": 'chmod 0700 "$M/other"',
    "the folder's own mode is changed": 'chmod 0700 "$M"',
    "the folder is renamed": 'mv "$M" "$E"',
    "the folder is hidden": 'mv "$M" ".$E"',
    "the folder is renamed and one of its name is there": 'mv "$M" "$E"; mkdir "$M"; echo mine >"$M/mine"',
    "the folder is removed and made again": 'rm -r "$M"; mkdir "$M"; echo mine >"$M/mine"',
    "the folder is emptied": 'rm -r "$M"/*',
    "a folder in it becomes a file": 'rm -r "$M/other"; echo file >"$M/other"',
    "a folder in it becomes a link": 'rm -r "$M/other"; ln -s inner "$M/other"',
    "a folder in it is renamed, and back again": 'mv "$M/inner" "$M/x"; mv "$M/x" "$M/inner"',
    "a folder in it moves out": 'mv "$M/inner" "$E"',
    "a folder of the source moves in": 'mkdir "$E"; echo own >"$E/file"; mv "$E" "$M/own"',
    "a hard link into it": 'ln "$M/inner/1" "$E"',
    "its times are changed": 'touch -d 2020-01-01 "$M" "$M/inner/1"',
    "it is moved behind the app's mount": (
        'W=/run/buildfarm/merged/app; if [ -d "$W/$M" ]; then mv "$W/$M" "$W/$E"; else mv "$M" "$E"; fi'
    ),
    "the app's folder is replaced behind its mount": (
        "mv /run/buildfarm/merged/app /run/buildfarm/merged/x || mkdir -p /run/buildfarm/merged/app || true"
    ),
}
LINKS = {
    "no link is touched": ":",
    "a write to one of two links": 'echo more >>"$M/linked"',
    "a write to the other": 'echo more >>"$M/other/linked"',
    "one of two links is emptied": ': >"$M/linked"',
    "one of two links is removed": 'rm "$M/linked"; echo more >>"$M/other/linked"',
    "one of two links is moved out": 'mv "$M/linked" "$E"; echo more >>"$E"',
    "one of two links is replaced": 'cp "$M/linked" "$E"; echo more >>"$E"; mv "$E" "$M/linked"',
    "a further link": 'ln "$M/linked" "$E"; echo more >>"$E"',
    "the mode of one of two links": 'chmod 0600 "$M/linked"',
    "a write to a link in the cache": (
        'echo more >>"$2/kept/$M/tree/linked"; cp -a "$2/kept/$M/tree" "$E"; echo linked >"$2/kept/$M/tree/linked"'
    ),
}
MAKE = (
    'mkdir -p "$M/inner" "$M/other"; for n in 1 2 3; do seq -w "$n" 20000 >"$M/inner/$n"; done; '
    'echo "$M" >"$M/other/file"; ln -s ../inner/1 "$M/other/link"; chmod 0750 "$M/other"'
)
MAKE_LINKS = MAKE + '; echo linked >"$M/linked"; ln "$M/linked" "$M/other/linked"'


def numbered(make, steps):
    """An app that has a folder of its own for each step, the first of which are as they were made."""
    restore = """
if /usr/lib/buildfarm/keep restore "$2" "$M" first "$M"; then echo "$M was restored"; else
  {make}; /usr/lib/buildfarm/keep save "$2" "$M" first "$M"
fi
"""
    lines = ['if grep -q " /app overlay " /proc/mounts; then echo "on a snapshot"; fi']
    for number, step in enumerate(steps):
        lines += [f"M=made{number} E=else{number}; {restore.format(make=make)}{step}"]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def several():
    """A farm where small folders are layers."""
    variables = {"BUILDFARM_LAYER_MIN_BYTES": "65536", "BUILDFARM_MAX_APP_LAYERS": "64"}
    with farm_with_node("snapshots-many", BUILDFARM_WARM_SANDBOXES="1", **variables) as builds:
        yield builds


@pytest.mark.parametrize(("make", "changes"), [(MAKE, CHANGES), (MAKE_LINKS, LINKS)], ids=["folders", "hard links"])
def test_an_image_is_the_same_as_without_a_snapshot(several, app, make, changes):
    """All changes in one app, each to a folder of its own; the layer that differs bears the change's number."""
    name = f"changes-{len(changes)}"
    unchanged = numbered(make, [":"] * len(changes))
    changed = numbered(make, changes.values())
    before = snapshots(several)
    succeeded(several, app(unchanged, compile=STEP), name)
    wait_for(lambda: snapshots(several) - before, MADE_SECONDS)
    succeeded(several, app(f"{unchanged} # so that its folders are known", compile=STEP), name)
    warm = succeeded(several, app(changed, compile=STEP), name)
    log = several.log(warm)
    assert "on a snapshot" in log and log.count("was restored") == len(changes)
    cold = succeeded(several, app(changed, compile=STEP), f"{name}-cold")
    assert "on a snapshot" not in several.log(cold)
    assert by_origin(warm) == by_origin(cold)
    assert digests(warm) == digests(cold)


def test_a_snapshot_names_the_folders_that_keep_hard_links_in_them(several, app):
    """As short as they may be: in each of them all links of a file are."""
    before = snapshots(several)
    make = f'{MAKE_LINKS}; mkdir "$M/other/deep"; echo 2 >"$M/other/2"; ln "$M/other/2" "$M/other/deep/2"'
    succeeded(several, app(numbered(make, [":", "ln -s linked $M/also"]), compile=STEP), "linked")
    wait_for(lambda: snapshots(several) - before, MADE_SECONDS)
    [name] = snapshots(several) - before
    tree = several.node.workspaces / f"{several.node.id}.snapshots" / name / "files/app"
    found = (tree / "linked/folders").read_bytes().split(b"\0")
    assert found.pop() == b""
    places = [f"/spare/kept/made{number}/tree{inside}".encode() for number in (0, 1) for inside in ("", "/other")]
    assert sorted(found) == places


@pytest.mark.skipif(os.geteuid() != 0, reason="to mount takes root")
@pytest.mark.parametrize(
    ("noted", "step", "unchanged"),
    [
        (b"/spare/tree\0", "mv spare/tree app/tree", {"tree": "/spare/tree"}),
        (b"/spare/tree\0", "mv spare/tree app/tree; echo more >>app/tree/one/linked", {}),
        (b"/spare/tree\0", "mv spare/tree app/tree; ln app/tree/one/linked app/link; echo more >>app/link", {}),
        (b"/spare/tree\0", "mv spare/tree app/tree; rm app/tree/two/linked", {}),
        (b"/spare/tree\0", "mv spare/tree/one app/one; echo more >>spare/tree/two/linked", {}),
        (b"/spare/tree\0", "mv spare/apart app/apart", {"apart": "/spare/apart"}),
        (b"/spare/tree\0", "mv spare/apart/inner app/inner", {"inner": "/spare/apart/inner"}),
        (b"", "mv spare/apart app/apart", {"apart": "/spare/apart"}),
        (None, "mv spare/apart app/apart", {}),
        (b"/spare/tree\0" * 10_000, "mv spare/apart app/apart", {}),
    ],
    ids=[
        "with all links", "a write to one", "a further link", "one is removed", "with one of two links",
        "without links", "a part without links", "links in the cache alone", "of an older builder", "a long list",
    ],
)  # fmt: skip
def test_a_folder_is_unchanged_only_if_no_link_leads_out_of_it(tmp_path, noted, step, unchanged):
    snapshot = tmp_path / "snapshot"
    write_files(snapshot, {"spare/tree/one/linked": "text", "spare/tree/two/own": "own", "spare/apart/inner/x": "x"})
    os.link(snapshot / "spare/tree/one/linked", snapshot / "spare/tree/two/linked")
    for folder in ("app", "cache", "linked"):
        (snapshot / folder).mkdir()
    if noted is not None:
        (snapshot / "linked/folders").write_bytes(noted)
    with Workspaces(tmp_path / "workspaces", 50_000_000, 1000).make("one") as workspace:
        overlay = lay_over(workspace, "s", snapshot, 0)
        subprocess.run(["bash", "-ec", step], cwd=workspace.merged.bind_source, check=True)
        workspace.freeze(lambda: None)
        assert overlay.unchanged() == {path: f"s {moved}" for path, moved in unchanged.items()}


# A program that writes to a file of the app through memory alone, until its input ends: no descriptor is open.
WRITER = """
import mmap, sys
with open("app/file", "r+b") as file:
    memory = mmap.mmap(file.fileno(), 4)
print("mapped", flush=True)
sys.stdin.read()
memory[:4] = b"late"
"""


@contextmanager
def workspace_on_snapshot(directory):
    """A workspace on a snapshot with a file in its cache, whose app has a file too."""
    snapshot = write_files(directory / "snapshot", {"cache/kept": "kept"})
    (snapshot / "app").mkdir()
    with Workspaces(directory / "workspaces", 100_000_000, 1000).make("one") as workspace:
        overlay = lay_over(workspace, "s", snapshot, 0)
        write_files(Path(workspace.app.bind_source), {"file": "text"})
        yield workspace, overlay


@pytest.fixture
def laid_over(tmp_path):
    with workspace_on_snapshot(tmp_path) as made:
        yield made


@pytest.mark.skipif(os.geteuid() != 0, reason="to mount takes root")
@pytest.mark.parametrize("layers", [False, True])
def test_app_and_cache_on_a_snapshot_are_frozen_with_and_without_layers(laid_over, layers):
    workspace, overlay = laid_over
    workspace.freeze(lambda: pytest.fail("nothing is open for writing"), layers=layers)
    for folder in (workspace.app, workspace.cache, workspace.merged, *([workspace.layers] if layers else [])):
        with pytest.raises(OSError, match="Read-only"):
            (Path(folder.bind_source) / "more").touch()
    assert overlay.cache_untouched()
    assert workspace.app.read("file", 10) == b"text"


@pytest.mark.skipif(os.geteuid() != 0, reason="to mount takes root")
@pytest.mark.parametrize("path", ["app/file", "cache/kept"])
def test_what_is_written_through_memory_ends_before_a_freeze(laid_over, path):
    workspace, _ = laid_over
    command = [sys.executable, "-c", WRITER.replace("app/file", path)]
    with subprocess.Popen(
        command, cwd=workspace.merged.bind_source, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout.readline() == b"mapped\n"
        ended = []

        def end():
            ended.append(writer.communicate())

        workspace.freeze(end, layers=False)
        assert ended
    assert BuildFolder(Path(workspace.merged.bind_source)).read(path, 10) == b"late"


@pytest.mark.skipif(os.geteuid() != 0, reason="to mount takes root")
def test_a_freeze_on_a_snapshot_writes_nothing_to_the_disk(tmp_path):
    def written_bytes(directory):
        with workspace_on_snapshot(directory) as (workspace, _):
            before = workspace.disk_bytes
            with (Path(workspace.app.bind_source) / "large").open("wb") as file:
                file.write(os.urandom(20_000_000))
                os.fsync(file.fileno())
            workspace.freeze(lambda: None, layers=False)
            return workspace.disk_bytes - before

    # The kernel may write it by itself at any moment, but not each time.
    assert any(written_bytes(tmp_path / str(number)) < 5_000_000 for number in range(5))


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


def test_as_many_are_kept_as_may_be_and_none_beyond_the_nodes_end(app):
    with farm_with_node("snapshots-few", BUILDFARM_SNAPSHOT_BYTES=str(30 * 1024 * 1024)) as builds:
        for name in ("one", "two"):
            before = snapshots(builds)
            succeeded(builds, app("head -c 9000000 /dev/urandom >/cache/own"), name)
            wait_for(lambda: snapshots(builds) - before, MADE_SECONDS)  # noqa: B023
        wait_for(lambda: len(snapshots(builds)) == 1, MADE_SECONDS)
        build = succeeded(builds, app("true"), "one")
        assert "on a snapshot" not in builds.log(build) and "made was restored" in builds.log(build)
        assert snapshots(builds)
        node = builds.node
    # The node has ended: nothing of it is left.
    assert f"{node.workspaces}/{node.id}" not in Path("/proc/mounts").read_text()
    assert not list(node.workspaces.glob(f"{node.id}.snapshots/*"))


def test_the_snapshots_of_a_killed_node_go_with_its_farm(app):
    with farm_with_node("snapshots-killed", BUILDFARM_WARM_SANDBOXES="1") as builds:
        warm(builds, app, "app")
        node = builds.node
        node.process.kill()
        node.process.wait()
        own = {"node_id": node.id, "workspace_directory": node.workspaces}
        settings = builds.farm.settings.model_copy(update=own)
        with closing(open_engine(settings.docker_url)) as client:
            clean_up(client, settings)
        assert not snapshots(builds) and not node.pooled() and not node.left_behind()
        assert f"{node.workspaces}/{node.id}" not in Path("/proc/mounts").read_text()


def test_a_full_disk_takes_the_snapshots(app):
    """More must be free than any disk has, so the node makes room again and again."""
    with farm_with_node("snapshots-full", BUILDFARM_DISK_CLEAN_BYTES=str(10**15)) as builds:
        warm(builds, app, "app")
        wait_for(lambda: not snapshots(builds), MADE_SECONDS)
        wait_for(lambda: "disk_cleaned" in builds.node.log.read_text(), MADE_SECONDS)
        build = succeeded(builds, app("true # again"), "app")
        assert "made was restored" in builds.log(build)


@pytest.mark.skipif(os.geteuid() != 0, reason="to mount takes root")
def test_what_a_full_disk_did_not_take_is_noticed(tmp_path):
    run = functools.partial(subprocess.run, check=True)
    run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(tmp_path)])
    try:
        workspaces = Workspaces(tmp_path / "workspaces", 200 * 1024 * 1024, 1000)
        with workspaces.make("one") as workspace, workspace.written_whole():
            Path(workspace.app.bind_source, "small").write_bytes(bytes(1000))
        with (
            workspaces.make("two") as workspace,
            pytest.raises(NodeError, match="did not take all"),
            workspace.written_whole(),
        ):
            Path(workspace.app.bind_source, "large").write_bytes(os.urandom(60_000_000))
    finally:
        run(["umount", "--lazy", str(tmp_path)])


@pytest.mark.skipif(os.geteuid() != 0, reason="to mount takes root")
def test_what_a_full_disk_did_not_take_of_a_build_on_a_snapshot_is_noticed(tmp_path):
    run = functools.partial(subprocess.run, check=True)
    run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(tmp_path)])
    try:
        for size_bytes, lost in ((1000, False), (60_000_000, True)):
            with workspace_on_snapshot(tmp_path / str(size_bytes)) as (workspace, _):
                Path(workspace.app.bind_source, "made").write_bytes(os.urandom(size_bytes))
                os.sync()  # as the kernel does in its own time
                workspace.freeze(lambda: None, layers=False)
                with pytest.raises(NodeError, match="did not take all") if lost else nullcontext():
                    workspace.check_written()
    finally:
        run(["umount", "--lazy", str(tmp_path)])


def test_a_node_without_snapshots_unpacks(app):
    with farm_with_node("snapshots-none", BUILDFARM_SNAPSHOT_BYTES="0") as builds:
        succeeded(builds, app("true"), "app")
        build = succeeded(builds, app("true # again"), "app")
        assert "made was restored" in builds.log(build) and "on a snapshot" not in builds.log(build)
        assert not snapshots(builds)

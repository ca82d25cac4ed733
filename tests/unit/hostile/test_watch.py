"""The watch of `make hostile` sees every kind of access to a build's files, and which go by the door."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.hostile.watch import RAW_DOOR

# Each piece of code runs in its own process under one watch, which nothing can take off again.
RUNNER = """
import json, os, shutil, subprocess, sys, traceback
from pathlib import Path
from tests.hostile.watch import Watch, read_report
from workers.build_folder import BuildFolder
root = Path(sys.argv[1])
files = root / "workspaces/node/attempt/files"
app = files / "app"
upper = files / "node/upper/app"
def plant():
    shutil.rmtree(root / "workspaces", ignore_errors=True)
    (app / "folder").mkdir(parents=True)
    (app / "folder/file").write_text("x")
    upper.mkdir(parents=True)
    (upper / "file").write_text("x")
    (root / "workspaces/node.snapshots/one/files/cache/folder").mkdir(parents=True)
told = []
for number, code in enumerate(json.load(sys.stdin)):
    plant()
    if (pid := os.fork()) == 0:
        Watch(str(root / "workspaces"), root / str(number)).begin()
        try:
            exec(code)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, code
    told.append(read_report(root / str(number)))
print(json.dumps(told))
"""

# As code of the module is that looks at raw trees
BY_OVERLAY = f"exec(compile(code, {RAW_DOOR!r}, 'exec'))"
BY_OVERLAY = f"(lambda code: {BY_OVERLAY})"

AROUND_THE_DOOR = [
    'open(app / "folder/file").close()',
    '(app / "folder").is_dir()',
    '(app / "folder").is_symlink()',
    'os.path.exists(app / "folder")',
    'os.access(app / "folder", 0)',
    'os.readlink("/proc/self/exe"); (app / "folder").resolve()',
    'os.listdir(app / "folder")',
    'os.stat("folder", dir_fd=os.open(app, os.O_PATH))',
    'list(os.scandir(os.open(app / "folder", os.O_RDONLY)))',
    'os.open("folder", os.O_PATH, dir_fd=os.open(app, os.O_PATH))',
    'list((app / "folder").glob("*"))',
    'shutil.rmtree(app / "folder")',
    'shutil.copyfile(app / "folder/file", root / "copy")',
    'os.symlink("x", app / "link")',
    'os.statvfs(app / "folder")',
    'os.chdir(app / "folder")',
    'os.chdir(app); open("folder/file").close()',
    'subprocess.run(["cat", str(app / "folder/file")], stdout=subprocess.DEVNULL)',
    'subprocess.run(["find", str(app)], stdout=subprocess.DEVNULL)',
    'subprocess.run(["tar", "--create", "--file=/dev/null", f"--directory={files}", "app"])',
    'subprocess.run(["true"], cwd=app / "folder")',
    '(files / "merged/folder").is_dir()',
    'open(upper / "file").close()',
    'os.lstat(upper / "file")',
    'subprocess.run(["true", str(upper / "file")])',
    f"{BY_OVERLAY}('open(upper / \"file\").close()')",
    'list(os.scandir(root / "workspaces/node.snapshots/one/files/cache/folder"))',
]

BY_THE_DOOR = """
folder = BuildFolder(app)
assert folder.read("folder/file", 10) == b"x" and folder.has_file("folder/file") and folder.may_have("folder")
assert folder.folder("folder").has_file("file")
archive = folder.archive(folder.scan().found, owner=0)
names = "".join(f"{name}\\0" for name in archive.names).encode()
subprocess.run(archive.argv, input=names, stdout=subprocess.DEVNULL, check=True)
"""

OF_THE_NODE = """
(files / "node/own").write_text("x")
os.statvfs(files / "node")
os.path.ismount(files)
subprocess.run(["true", str(files)])
"""


def watched(tmp_path, codes):
    """Of each: how often it went by the door, and every other access."""
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(tmp_path)],
        input=json.dumps(codes), capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_any_access_around_the_door_is_told(tmp_path):
    told = watched(tmp_path, AROUND_THE_DOOR)
    assert [code for code, (_, others) in zip(AROUND_THE_DOOR, told, strict=True) if not others] == []


def test_what_goes_by_the_door_is_counted_and_the_nodes_own_files_are_not(tmp_path):
    raw = f"{BY_OVERLAY}('os.lstat(upper / \"file\"); list(os.scandir(upper))')"
    (doors, others), own, of_raw_trees = watched(tmp_path, [BY_THE_DOOR, OF_THE_NODE, raw])
    assert doors >= 8
    assert others == []
    assert own == [0, []]
    assert of_raw_trees == [2, []]

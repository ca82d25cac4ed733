"""Makes an image's tree from the distribution's packages: ``python3 slim < PLAN.json``.

It runs as an ordinary user in a sandbox. The plan is `buildfarm.recipes.plan.Plan` as JSON; the recipe's folder is
/app, and what it leaves is /cache/tree, the image's files, and /cache/report.json. What it says goes to the build's
log. It ends with 1 and a last line that says why where the recipe asks for what is not there, and with 3 for an
archive.
"""

import json
import shutil
import sys
from pathlib import Path

from archive import ArchiveError, unpack_archive
from closure import copy_files, copy_programs, drop, link
from compiled import compile_sources
from icu import trim_icu
from once import keep_once
from packages import extract, keep_records
from problem import Problem, complain, run
from small import give_back, take_small

RECIPE, RESULT, SCRATCH = Path("/app"), Path("/cache"), Path("/tmp")
MERGED = ("bin", "sbin", "lib", "lib64")


def main() -> None:
    plan = json.load(sys.stdin)
    slim, tree, root = plan["slim"], RESULT / "tree", SCRATCH / "root"
    make_merged(tree)
    debs = extract(plan["suite"], slim["packages"], root)
    if plan["archive"]:
        unpack_archive(plan["archive"], RECIPE, SCRATCH, root)
    compiled = plan["compiled"] is not None and compile_sources(plan, RECIPE, SCRATCH, tree)
    made: set[Path] = set()
    if not compiled:
        drop(root, slim["drop"])  # first, so that nothing is taken for its sake
        trim_icu(root, slim["icu"])
        made = copy_linked(root, tree, slim["programs"] + slim["loaded"])
        copy_files(root, tree, slim["files"])
        for script in slim.get("made", []):
            run(str(RECIPE / script), str(root), str(tree))
    if (RECIPE / "root").is_dir():
        shutil.copytree(RECIPE / "root", tree, dirs_exist_ok=True, symlinks=True)
    link(tree, slim["links"])
    make_users(tree, plan["name"], plan["image"])
    packages = compiled or keep_records(debs, root, tree, made)
    keep_once(tree)
    report = {"packages": packages, "made": "compiled" if compiled else "closure"}
    (RESULT / "report.json").write_text(json.dumps(report))


def copy_linked(root: Path, tree: Path, patterns: list[str]) -> set[Path]:
    """Programs and their libraries, small ones where these have all that is called; returns the files that are ours."""
    libraries = take_small(root)
    copy_programs(root, tree, patterns)
    staying = give_back(libraries, tree)
    if len(staying) < len(libraries):
        copy_programs(root, tree, patterns)
    return set().union(*(library.files(tree) for library in staying))


def make_merged(tree: Path) -> None:
    """/bin and its like are links into /usr, as in every suite since bookworm; /tmp is there for all."""
    tree.mkdir()
    for name in MERGED:
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")


def make_users(tree: Path, name: str, image: dict) -> None:
    """The two users that there are, for programs that ask who they are."""
    user, home = image["user"], image["volume"]
    (tree / "etc").mkdir(exist_ok=True)
    (tree / "etc/passwd").write_text(f"root:x:0:0:root:/:/bin/sh\n{name}:x:{user}:{user}:{name}:{home}:/bin/sh\n")
    (tree / "etc/group").write_text(f"root:x:0:\n{name}:x:{user}:\n")
    (tree / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")


if __name__ == "__main__":
    try:
        main()
    except ArchiveError as error:
        complain(str(error))
        sys.exit(3)
    except Problem as error:
        complain(str(error))
        sys.exit(1)

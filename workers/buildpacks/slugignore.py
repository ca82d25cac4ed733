"""What of the source does not belong to the app: .slugignore, and project.toml's include and exclude.

Sources: Heroku, "Slug Compiler"; Scalingo, ".slugignore"; buildpacks/spec extensions/project-descriptor.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from buildfarm.buildpacks.address import FolderBuildpack
from buildfarm.buildpacks.project import PROJECT
from buildfarm.errors import CompileError, DetectError
from buildfarm.oci.tree import Found
from buildfarm.sources.gitfiles.ignore_rules import RuleFile, decide, parse
from workers.build_folder import BuildFolder
from workers.buildpacks.appfiles import read_file
from workers.buildpacks.manifests import AppManifest
from workers.buildpacks.profile import Profile
from workers.buildpacks.steps import FOLDER, Steps, folder_name

FILE = ".slugignore"

# What is in a read-only folder is removed too, and the folder keeps its mode.
_REMOVE = """
failed=0
list=$(mktemp /tmp/excluded.XXXXXX)
trap 'rm -f "$list"' EXIT
cat >"$list"
xargs --null --no-run-if-empty rm -rf -- <"$list" 2>/dev/null || true
while IFS= read -r -d "" path; do
  if [ -e "$path" ] || [ -L "$path" ]; then
    above=$(dirname -- "$path")
    mode=$(stat -c %a -- "$above")
    chmod u+rwx -- "$above"
    if [ -d "$path" ] && [ ! -L "$path" ]; then find "$path" -type d -exec chmod u+rwx {} \\; ; fi
    rm -rf -- "$path" || failed=1
    chmod "$mode" -- "$above"
  fi
done <"$list"
exit $failed
"""
_SET_ASIDE = """
inside=$(realpath -e -- "/app/$1")
case $inside in /app/*) ;; *) exit 1 ;; esac
[ -d "$inside" ]
mkdir -p "${2%/*}"
cp -a -- "$inside" "$2"
chmod -R u+w -- "$2"
"""


def leave_out(app: BuildFolder, steps: Steps, profile: Profile, manifest: AppManifest) -> frozenset[str]:
    """Names that shall not be in the image; on a stack of Heroku's kind they are deleted here and now instead.

    What project.toml excludes is deleted on every stack. Raises CompileError, DetectError if a folder that project.toml
    names as a buildpack is not one, and what the sandbox raises.
    """
    _set_aside(steps, manifest)
    _exclude(app, steps, manifest)
    text = read_file(app, FILE)
    if not text:
        return frozenset()
    ignored = ignored_names(app.scan().found, text)
    if not profile.slugignore_before_build:
        return ignored
    # In the sandbox, and each by its path below /app: the node follows no link that came with a source.
    paths = b"".join(os.fsencode(name.partition("/")[2]) + b"\0" for name in sorted(ignored))
    command = ["xargs", "--null", "--no-run-if-empty", "rm", "-rf", "--"]
    steps.sandbox.run(command, stdin=[paths])
    return frozenset()


def _set_aside(steps: Steps, manifest: AppManifest) -> None:
    """Copies buildpacks that are folders of the source: the project often excludes them from the app."""
    for number, item in enumerate(manifest.buildpacks, start=1):
        if isinstance(item, FolderBuildpack):
            command = ["bash", "-euc", _SET_ASIDE, "set-aside", item.path, f"{FOLDER}/{folder_name(number, item.name)}"]
            if steps.sandbox.run(command).code != 0:
                raise DetectError(f"The buildpack {item} of {PROJECT} is not a folder of the app.")


def _exclude(app: BuildFolder, steps: Steps, manifest: AppManifest) -> None:
    if not (manifest.include or manifest.exclude):
        return
    paths = excluded_paths(app.scan().found, manifest)
    ended = steps.sandbox.run(["bash", "-uc", _REMOVE], stdin=[b"".join(os.fsencode(path) + b"\0" for path in paths)])
    if ended.code != 0:
        raise CompileError(f"Files that {PROJECT} excludes cannot be removed.", advice="The log's last lines say why.")
    steps.say(f"{PROJECT} excludes {len(paths)} of the app's files and folders")


def excluded_paths(found: Iterable[Found], manifest: AppManifest) -> list[str]:
    """Paths below the app of what project.toml leaves out, the topmost of each folder."""
    items = list(found)
    if manifest.include:
        kept = _matched(items, manifest.include, exceptions_inside=True)
        for item in reversed(items):  # folders come before what is in them
            if item.name in kept:
                kept.add(item.name.rpartition("/")[0])
        excluded = {item.name for item in items if "/" in item.name} - kept
    else:
        excluded = _matched(items, manifest.exclude)
    return sorted(name.partition("/")[2] for name in excluded if name.rpartition("/")[0] not in excluded)


def ignored_names(found: Iterable[Found], text: str) -> frozenset[str]:
    """Names of a tree's entries that its patterns match, or that are in a folder which they match.

    ``found`` is the tree as `oci.tree.scan` gives it. A pattern with ``!`` takes nothing back, as on Heroku, and one
    that is malformed matches nothing, as in git.
    """
    return frozenset(_matched(found, [line for line in text.split("\n") if not line.lstrip().startswith("!")]))


def _matched(found: Iterable[Found], lines: Iterable[str], *, exceptions_inside: bool = False) -> set[str]:
    """Names that match, or are in a folder that does; git does not look into such a folder for exceptions."""
    rules = RuleFile("", b"", parse(os.fsencode("\n".join(lines))))
    matched: set[str] = set()
    for item in found:
        folder, path = item.name.rpartition("/")[0], item.name.partition("/")[2]
        is_inside = folder in matched
        if path and (exceptions_inside or not is_inside):
            why = decide([rules], os.fsencode(path), is_folder=item.is_folder, ignore_case=False)
            is_inside = is_inside if why is None else not why.rule.negative
        if path and is_inside:
            matched.add(item.name)
    return matched

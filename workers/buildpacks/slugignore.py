""".slugignore: what of the source does not belong to the app (Heroku, "Slug Compiler"; Scalingo, ".slugignore")."""

from __future__ import annotations

import os
from collections.abc import Iterable

from pathspec import GitIgnoreSpec

from buildfarm.errors import CompileError
from buildfarm.oci.tree import Found
from workers.build_folder import BuildFolder
from workers.buildpacks.appfiles import read_file
from workers.buildpacks.profile import Profile
from workers.buildpacks.steps import Steps

FILE = ".slugignore"


def leave_out(app: BuildFolder, steps: Steps, profile: Profile) -> frozenset[str]:
    """Names that shall not be in the image; on a stack of Heroku's kind they are deleted here and now instead.

    Raises CompileError, and what the sandbox raises.
    """
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


def ignored_names(found: Iterable[Found], text: str) -> frozenset[str]:
    """Names of a tree's entries that its patterns match, or that are in a folder which they match.

    ``found`` is the tree as `oci.tree.scan` gives it. A pattern with ``!`` takes nothing back, as on Heroku. Raises
    CompileError if a line is not a valid pattern.
    """
    lines = [line for line in text.split("\n") if not line.lstrip().startswith("!")]
    try:
        spec = GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise CompileError(f"{FILE} cannot be read: {error}.") from error
    ignored: set[str] = set()
    for item in found:
        folder, path = item.name.rpartition("/")[0], item.name.partition("/")[2]
        if path and (folder in ignored or spec.match_file(path + "/" if item.is_folder else path)):
            ignored.add(item.name)
    return frozenset(ignored)

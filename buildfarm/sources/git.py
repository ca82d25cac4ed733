"""git itself is asked what belongs to a source."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from buildfarm.sources.git_call import GitCall, NoAnswerError
from buildfarm.sources.gitfiles.checkout import find_checkout
from buildfarm.sources.listing import Ignored, Listing

_SUBMODULE = b"160000 "
_OTHERS = ("ls-files", "--others", "--exclude-standard", "-z")


def ask_git(folder: Path, *, above: bool) -> Listing | None:
    """What git tracks and what it would add; None if git is not installed, does not answer, or finds no checkout.

    ``above`` also looks for the checkout in the folder's parents. Raises SourceError if a folder cannot be read.
    """
    found = shutil.which("git")
    if found is None or find_checkout(folder, above=above).git_folder is None:
        return None
    call = GitCall(os.path.abspath(found), folder, above)  # noqa: PTH100 - resolving a link would change the program's name
    try:
        tracked = [line.partition(b"\t") for line in call.run("ls-files", "--stage", "-z")]
        others = call.run(*_OTHERS)
        ignored = call.run(*_OTHERS, "--ignored", "--directory")
        submodules = {name for about, _, name in tracked if about.startswith(_SUBMODULE)}
        files = {name for _, _, name in tracked} | {name for name in others if not name.endswith(b"/")}
        nested = {name[:-1] for name in others if name.endswith(b"/")}
        return Listing(frozenset(files), frozenset(nested | submodules), tuple(_with_rules(call, ignored)))
    except NoAnswerError:
        return None


def _with_rules(call: GitCall, ignored: list[bytes]) -> Iterator[Ignored]:
    """The entries with the rules that name them: only git knows which it applied."""
    if not ignored:
        return
    try:
        given = [name or b"." for name in ignored]
        told = call.run("check-ignore", "--verbose", "--no-index", "-z", "--stdin", names=given, none_found=1)
    except NoAnswerError:
        told = []
    fields = iter(told)
    rules = {name: (origin, line, text) for origin, line, text, name in zip(*[fields] * 4, strict=False)}
    for name in ignored:
        origin, line, text = (os.fsdecode(field) for field in rules.get(name, (b"git's ignore files", b"", b"")))
        yield Ignored(name, origin, f"line {line}: {text}" if line else "")

"""What git would list in a folder, found without git: it is not installed, or there is no repository."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.errors import SourceError
from buildfarm.sources.gitfiles.checkout import Checkout, find_checkout, repository_at, rule_file
from buildfarm.sources.gitfiles.config import GitSettings
from buildfarm.sources.gitfiles.ignore_rules import Decision, RuleFile, decide
from buildfarm.sources.gitfiles.index import Index
from buildfarm.sources.listing import Ignored, Listing

_GIT = b".git"
# Nothing ignores these in a tree that is not git's.
_OTHER_REPOSITORIES = (b".hg", b".svn")

_Rules = tuple[RuleFile, ...]


def walk(folder: Path, *, above: bool) -> Listing:
    """What the folder's repository tracks, and what no ignore file names. ``above`` looks for it in parents too.

    Raises SourceError if a folder cannot be read.
    """
    checkout = find_checkout(folder, above=above)
    settings = checkout.settings()
    way = folder.resolve().relative_to(checkout.top).parts
    prefix = b"".join(os.fsencode(part) + b"/" for part in way)
    found = _Walk(checkout, settings, checkout.index(settings))
    found.look(prefix)
    files = found.index.files.union(found.index.submodules, found.files)
    nested = found.index.submodules.union(found.nested)
    return Listing(
        frozenset(name.removeprefix(prefix) for name in files if name.startswith(prefix)),
        frozenset(name.removeprefix(prefix) for name in nested if name.startswith(prefix)),
        tuple(Ignored(name.removeprefix(prefix), why.origin, why.detail) for name, why in found.ignored),
    )


@dataclass
class _Walk:
    """One walk below a folder. Paths are relative to the checkout's top; a folder's base has a slash behind it."""

    checkout: Checkout
    settings: GitSettings
    index: Index
    files: list[bytes] = field(default_factory=list)
    nested: list[bytes] = field(default_factory=list)
    ignored: list[tuple[bytes, Decision]] = field(default_factory=list)

    def look(self, prefix: bytes) -> None:
        """Looks at everything below this base, unless a rule ignores it or a folder that it is in."""
        self._tracked_folders = frozenset(_folders_of(self.index.files | self.index.submodules))
        self._skipped = (_GIT,) if self.checkout.git_folder else (_GIT, *_OTHER_REPOSITORIES)
        rules = tuple(self.checkout.rule_files(self.settings))
        for folder in _folders_of([prefix]):
            rules = self._rules_in(folder[: folder.rfind(b"/") + 1], rules)
            if why := self._ignores(folder, rules, is_folder=True):
                self.ignored.append((prefix, why))
                return
        waiting = [(prefix, rules)]
        while waiting:
            base, rules = waiting.pop()
            waiting += self._look_at(base, self._rules_in(base, rules))

    def _look_at(self, base: bytes, rules: _Rules) -> Iterator[tuple[bytes, _Rules]]:
        """Sorts a folder's entries, and returns what is to be looked at next."""
        for entry in self._entries(base):
            path = base + entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            is_tracked = path in self.index.submodules or (path in self.index.files and not is_folder)
            if is_tracked or entry.name in self._skipped:
                continue
            if why := self._ignores(path, rules, is_folder=is_folder):
                self.ignored.append((path + b"/" if is_folder else path, why))
            elif not is_folder:
                self.files.append(path)
            elif path not in self._tracked_folders and repository_at(Path(os.fsdecode(entry.path), ".git")):
                self.nested.append(path)
            else:
                yield path + b"/", rules

    def _entries(self, base: bytes) -> list[os.DirEntry[bytes]]:
        folder = os.path.join(os.fsencode(self.checkout.top), base)  # noqa: PTH118 - paths are bytes here
        try:
            with os.scandir(folder) as found:
                return list(found)
        except OSError as error:
            raise SourceError(f"{os.fsdecode(folder)} cannot be read: {error.strerror}.") from error

    def _rules_in(self, base: bytes, rules: _Rules) -> _Rules:
        name = os.fsdecode(base) + ".gitignore"
        return (*rule_file(self.checkout.top / name, name, base, self.settings, links=False), *rules)

    def _ignores(self, path: bytes, rules: _Rules, *, is_folder: bool) -> Decision | None:
        why = decide(rules, path, is_folder=is_folder, ignore_case=self.settings.ignore_case)
        return None if why is None or why.rule.negative else why


def _folders_of(paths: frozenset[bytes] | list[bytes]) -> dict[bytes, None]:
    """All folders on the way to these paths, the outer one first."""
    found: dict[bytes, None] = {}
    for path in paths:
        at = path.find(b"/")
        while at >= 0:
            found[path[:at]] = None
            at = path.find(b"/", at + 1)
    return found

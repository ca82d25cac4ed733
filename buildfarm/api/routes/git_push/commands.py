"""What a client asks receive-pack to do: which refs it wants to have where (git, gitprotocol-pack). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from buildfarm.errors import RequestError

NO_OBJECT = "0" * 40
REFS_MAX = 1000
# There is nothing to fetch from, so no ref is named, and every push is a new branch.
CAPABILITIES = "report-status delete-refs side-band-64k ofs-delta object-format=sha1 agent=git/buildfarm"

_COMMAND = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40}) (refs/[^\x00-\x20\x7f]{1,1000})\n?")
_SHALLOW = re.compile(rb"shallow ([0-9a-f]{40})\n?")
_ONE = "git push FARM main."
_ADVICE = "Push with git, version 2.0 or newer."


@dataclass(frozen=True)
class Update:
    """A ref, and the object that it is to name; ``NO_OBJECT`` deletes it."""

    ref: str
    new: str

    @property
    def branch(self) -> str:
        """Its name if it is a branch; else empty."""
        return self.ref.removeprefix("refs/heads/") if self.ref.startswith("refs/heads/") else ""


@dataclass(frozen=True)
class Asked:
    """The commands of one push."""

    updates: tuple[Update, ...]
    shallow: tuple[str, ...]  # commits whose parents the client does not have
    capabilities: frozenset[str]

    @property
    def has_pack(self) -> bool:
        """Whether objects follow: they do unless all that is asked for is to delete."""
        return any(update.new != NO_OBJECT for update in self.updates)


def parse(lines: Sequence[bytes]) -> Asked:
    """The commands in these lines. Raises RequestError if one is none."""
    updates: list[Update] = []
    shallow: list[str] = []
    capabilities: frozenset[str] = frozenset()
    for line in lines:
        if found := _SHALLOW.fullmatch(line):
            shallow.append(found[1].decode())
            continue
        command, nul, given = line.partition(b"\0")
        found = _COMMAND.fullmatch(command)
        if found is None or (nul and updates):
            raise RequestError("The push names a ref in a way that the farm cannot read.", advice=_ADVICE)
        if nul:
            capabilities = frozenset(given.decode("latin-1").split())
        try:
            updates.append(Update(found[3].decode(), found[2].decode()))
        except UnicodeDecodeError as error:
            raise RequestError("The name of a pushed ref is not UTF-8.", advice="Push one branch: " + _ONE) from error
    if len(updates) > REFS_MAX:
        raise RequestError(f"A push can name {REFS_MAX:,} refs.", advice="Push one branch: " + _ONE)
    if len({update.ref for update in updates}) < len(updates):
        raise RequestError("The push names a ref twice.", advice="Push one branch: " + _ONE)
    return Asked(tuple(updates), tuple(shallow), capabilities)

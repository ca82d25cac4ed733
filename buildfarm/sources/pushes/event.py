"""A push, a pull request or a deleted branch, as all forges' formats are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from buildfarm.errors import RequestError

_SCP = re.compile(r"(?:[^@/]+@)?([^:/]+):(?!//)(.+)")  # git@host:owner/name
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class Kind(StrEnum):
    """What has happened."""

    PUSHED = "pushed"  # a branch has a new commit
    DELETED = "deleted"  # a branch is gone
    OPENED = "opened"  # a pull request has a new commit, or was opened again
    CLOSED = "closed"  # a pull request was merged or declined


@dataclass(frozen=True)
class Event:
    """One change of a branch or a pull request."""

    kind: Kind
    branch: str  # of a pull request, the one that it asks to merge
    commit: str = ""
    before: str = ""  # the commit that the branch was at; empty if the push made the branch
    message: str = ""  # of the commit, as far as the forge sends it
    paths: tuple[str, ...] | None = None  # what the commits changed; None if the forge does not say all of it
    number: int = 0  # of the pull request
    target: str = ""  # the branch that it is to be merged into
    fork: bool = False  # its commits are of another repository
    at: float = 0.0  # when it changed by the forge's clock, in seconds since the epoch; 0 if the forge does not say


@dataclass(frozen=True)
class Payload:
    """What one request says."""

    name: str  # the repository's full name at its forge, such as owner/name
    addresses: frozenset[str]  # all of the repository's, as `place_of_address` gives them
    events: tuple[Event, ...]


def place_of_address(url: str) -> str:
    """Return host and path of a repository, the same for each way to reach it; empty if it is not an address."""
    text = url.strip().lower()
    try:
        parts = urlsplit(text)
        host, path = parts.hostname or "", parts.path
    except ValueError:
        return ""
    if not host and (found := _SCP.fullmatch(text)):
        host, path = found[1], found[2]
    path = path.strip("/").removesuffix(".git")
    return f"{host}/{path}" if host and path else ""


def commit_of(value: object) -> str:
    """A commit's id; empty for the zeros that stand for none. Raises RequestError."""
    if value is None or (isinstance(value, str) and not value.strip("0")):
        return ""
    if not isinstance(value, str) or not _COMMIT.fullmatch(value):
        raise RequestError("The payload names a commit that is not a hexadecimal id.", advice="Deliver it again.")
    return value

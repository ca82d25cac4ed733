"""What a hook makes of an event: a build, the end of a preview, or nothing and why. Pure."""

from __future__ import annotations

import re

from pydantic import Field

from buildfarm.fields import Frozen
from buildfarm.sources.pushes.event import Event, Kind, Payload, place_of_address
from buildfarm.sources.pushes.hook import Hook
from buildfarm.sources.pushes.paths import touches

# What GitHub, GitLab and Bitbucket have in common, and GitHub's [no ci].
_SKIP = re.compile(r"\[(skip ci|ci skip|no ci)\]", re.IGNORECASE)


class Wanted(Frozen):
    """A change of a branch or a pull request that a hook follows, as it waits to be acted on."""

    key: str  # of the delivery it came with, and its place in it
    kind: Kind
    branch: str
    commit: str = ""
    before: str = ""
    number: int = 0
    fork: bool = False
    at: float = Field(0.0, allow_inf_nan=False)
    came: float = 0.0  # when it was taken from the inbox, by the farm's clock
    name: str = ""  # the repository's full name at its forge
    skip: str = ""  # why it is not built

    @property
    def ref(self) -> str:
        """What git is to fetch: the commit, or the branch if only the commit's first digits are known."""
        return self.commit if len(self.commit) in (40, 64) else f"refs/heads/{self.branch}"


def is_of(hook: Hook, payload: Payload) -> bool:
    """Whether the payload is about the hook's repository."""
    place = place_of_address(hook.repository)
    return place in payload.addresses and place.endswith(f"/{payload.name.lower()}")


def choose(hook: Hook, event: Event, payload: Payload, key: str) -> Wanted | str:
    """What to act on, or why there is nothing to do.

    A push that is not built still counts: the pushes after it are in the order of all of them.
    """
    reason = _not_followed(hook, event)
    if reason:
        return reason
    skip = ""
    if event.kind in (Kind.PUSHED, Kind.OPENED):
        if found := _SKIP.search(event.message):
            skip = f"the commit's message has {found[0]}"
        elif event.kind is Kind.PUSHED and not touches(hook.filters, event.paths):
            skip = "it changes no file that the hook's paths match"
    return Wanted(
        key=key, kind=event.kind, branch=event.branch, commit=event.commit, before=event.before, number=event.number,
        fork=event.fork, at=event.at, name=payload.name, skip=skip,
    )  # fmt: skip


def _not_followed(hook: Hook, event: Event) -> str:
    if event.kind is Kind.PUSHED:
        return "" if event.branch == hook.branch else f"the branch is not {hook.branch}"
    if event.kind is Kind.DELETED:
        return "" if hook.pull_requests or event.branch == hook.branch else f"the branch is not {hook.branch}"
    if not hook.pull_requests:
        return "the hook builds no pull requests"
    if event.kind is Kind.OPENED and event.target != hook.branch:
        return f"the pull request is not for {hook.branch}"
    if event.kind is Kind.OPENED and event.fork and not hook.forks:
        return "the pull request is from a fork: untrusted code could read what builds can read"
    return ""

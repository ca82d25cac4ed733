"""Which of a push's refs is built, and what becomes of the others. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from buildfarm.api.routes.git_push.commands import NO_OBJECT, Update


@dataclass(frozen=True)
class Decided:
    """The verdict on a push before its objects are looked at."""

    built: Update | None
    refused: dict[str, str] = field(default_factory=dict)  # by ref, why
    ignored: tuple[str, ...] = ()  # refs that come beside the built branch: accepted, and not kept


def decide(updates: Sequence[Update], branches: Sequence[str]) -> Decided:
    """Choose the branch to build: the first of ``branches`` that is pushed.

    Nothing is kept, so there is nothing to delete. What comes beside a built branch is accepted, or a push with its
    tags would fail. A push that builds nothing is refused: its end would look like a deployment.
    """
    named = {update.branch: update for update in updates if update.new != NO_OBJECT}
    built = next((named[branch] for branch in branches if branch in named), None)
    refused: dict[str, str] = {}
    ignored: list[str] = []
    for update in updates:
        if update.new == NO_OBJECT:
            refused[update.ref] = "the farm keeps no refs, there is nothing to delete"
        elif update is built:
            continue
        elif built is not None:
            ignored.append(update.ref)
        elif update.branch:
            refused[update.ref] = f"the farm builds {_any_of(branches)}: git push FARM {update.branch}:{branches[0]}"
        else:
            refused[update.ref] = f"the farm builds branches only: push {_any_of(branches)}"
    return Decided(built, refused, tuple(ignored))


def _any_of(branches: Sequence[str]) -> str:
    return f"{', '.join(branches[:-1])} or {branches[-1]}" if len(branches) > 1 else branches[0]

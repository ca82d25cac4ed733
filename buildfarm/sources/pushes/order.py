"""The order of pushes that arrive twice, late or in any order, and of a pull request's changes. Pure.

A push says from which commit to which it moves its branch, so that the pushes of a branch are a chain. One that does
not follow the newest waits for those before it. It is given up waiting when nothing more has come for a while: a forge
may have failed to deliver one. What comes later, out of such a gap, is older than what was taken after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from buildfarm.fields import Frozen
from buildfarm.sources.pushes.choose import Wanted
from buildfarm.sources.pushes.event import Kind

QUIET_SECONDS = 5.0  # without another push of the branch
WAIT_SECONDS = 60.0  # at most, however many come
TAKEN_MAX = 1000
_DIGITS = 12  # of a commit, that are kept of each
_APART_SECONDS = 600.0  # which the times of two pushes may be in the wrong order
WAITING_MAX = 500  # or ready

Move = tuple[str, str]  # from this commit to that one, their first digits


class Line(Frozen):
    """A branch as its pushes have been taken so far."""

    head: str | None = None  # the commit after the newest; empty: the branch is deleted; None: nothing is known
    at: float = 0.0  # when the newest was pushed, by the forge's clock
    taken: tuple[Move, ...] = ()  # the newest last
    waiting: tuple[Wanted, ...] = ()
    first_at: float = 0.0  # when the first of those that wait came, by the farm's clock
    last_at: float = 0.0  # and the last

    def due_at(self) -> float | None:
        """When those that wait are taken as they are; None if none wait."""
        return min(self.last_at + QUIET_SECONDS, self.first_at + WAIT_SECONDS) if self.waiting else None


def arrive(line: Line, wanted: Wanted, now: float) -> Line:
    """The line with another push, unless the same one waits already."""
    if _move(wanted) in map(_move, line.waiting):
        return line
    first_at = line.first_at if line.waiting else now
    return line.model_copy(update={"waiting": (*line.waiting, wanted), "first_at": first_at, "last_at": now})


def settle(line: Line, now: float) -> tuple[Line, list[Wanted]]:
    """Takes what can be taken now: the line after it, and the pushes in their order."""
    ready: list[Wanted] = []
    while line.waiting:
        wanted = _next(line)
        if wanted is None:
            if now < (line.due_at() or 0.0) and len(line.waiting) < WAITING_MAX:
                break
            # Those that are older are left out first: what was before them is then older too.
            old = _older(line)
            wanted = old or _first(line.waiting)
            counts = old is None
        else:
            counts = not _is_long_ago(line, wanted)
        line = _without(line, wanted)
        if counts:
            line = line.model_copy(update={"head": wanted.commit, "at": max(line.at, wanted.at)})
            ready.append(wanted)
    return line, ready


def _next(line: Line) -> Wanted | None:
    """The push that follows the newest; of a branch of which nothing is known, the one that made it."""
    return next((one for one in line.waiting if one.before == (line.head or "")), None)


def _first(waiting: Sequence[Wanted]) -> Wanted:
    """The one that no other of these comes before; in a circle the one that came first."""
    after = {one.commit for one in waiting}
    return next((one for one in waiting if one.before not in after), waiting[0])


def _older(line: Line) -> Wanted | None:
    """One of those that do not follow the newest that came before it, as far as anything says so."""
    taken = set(line.taken)
    starts, ends = ({move[side] for move in taken} for side in (0, 1))
    head = None if line.head is None else line.head[:_DIGITS]
    # Where gaps begin: commits that the branch left by a push that has not come. One made again begins anew.
    gaps = ends - starts - {head, ""}
    for one in line.waiting:
        before, commit = _move(one)
        fills = before in gaps and not 0.0 < line.at + _APART_SECONDS < one.at
        if fills or commit == head or commit in starts or (before, commit) in taken or _is_long_ago(line, one):
            return one
    return None


def _is_long_ago(line: Line, wanted: Wanted) -> bool:
    """Whether the forge's time says so. GitHub's is when the repository, not the branch, was last pushed to."""
    return 0.0 < wanted.at < line.at - _APART_SECONDS


def _without(line: Line, wanted: Wanted) -> Line:
    waiting, move = tuple(one for one in line.waiting if one is not wanted), _move(wanted)
    taken = line.taken if move in line.taken else (*line.taken, move)[-TAKEN_MAX:]
    times = {} if waiting else {"first_at": 0.0, "last_at": 0.0}
    return line.model_copy(update={"waiting": waiting, "taken": taken, **times})


def _move(wanted: Wanted) -> Move:
    return wanted.before[:_DIGITS], wanted.commit[:_DIGITS]


class Pull(Frozen):
    """A pull request as it is known: forges say when each of its changes was made."""

    branch: str = ""  # empty: nothing is known
    fork: bool = False
    commit: str = ""
    at: float = 0.0
    is_open: bool = False


def change(pull: Pull, wanted: Wanted) -> Pull | None:
    """The pull request after a change; None if the change is older than what is known."""
    closes = wanted.kind is Kind.CLOSED
    if wanted.at and wanted.at < pull.at:
        return None
    if not closes and pull.branch and not pull.is_open and pull.at and wanted.at == pull.at:
        return None  # of the same second as its end
    at, commit = max(wanted.at, pull.at), wanted.commit or pull.commit
    return Pull(branch=wanted.branch, fork=wanted.fork, commit=commit, at=at, is_open=not closes)

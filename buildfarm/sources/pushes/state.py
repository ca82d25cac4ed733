"""What a hook knows of its branch and its pull requests, and what it has to do next. Pure."""

from __future__ import annotations

from pydantic import Field

from buildfarm.fields import Frozen
from buildfarm.sources.pushes.choose import Wanted
from buildfarm.sources.pushes.event import Kind
from buildfarm.sources.pushes.order import WAITING_MAX, Line, Pull, arrive, change, settle

PULLS_MAX = 500


class State(Frozen):
    """The state of one hook."""

    line: Line = Line()
    pulls: dict[int, Pull] = Field(default_factory=dict)  # those that changed last at the end
    ready: tuple[Wanted, ...] = ()  # to be built or ended, in this order

    @property
    def room(self) -> int:
        """How many changes more it takes; the others wait in the inbox."""
        return max(0, WAITING_MAX - len(self.ready) - len(self.line.waiting))


def absorb(state: State, wanted: Wanted, branch: str, now: float) -> State:
    """The state with another change; ``branch`` is the hook's."""
    wanted = wanted.model_copy(update={"came": now})
    if wanted.number:
        return _pull(state, wanted)
    if wanted.kind is Kind.DELETED:
        gone = [
            number
            for number, pull in state.pulls.items()
            if pull.is_open and not pull.fork and pull.branch == wanted.branch
        ]
        for number in gone:
            end = wanted.model_copy(update={"kind": Kind.CLOSED, "number": number, "key": f"{wanted.key}.{number}"})
            state = _pull(state, end.model_copy(update={"at": state.pulls[number].at}))
    # A deletion that does not name the commit before it is reported a second time, with it.
    if wanted.branch != branch or not (wanted.commit or wanted.before):
        return state
    return state.model_copy(update={"line": arrive(state.line, wanted, now)})


def settled(state: State, now: float) -> State:
    """The state with what is ready now."""
    line, taken = settle(state.line, now)
    builds = tuple(one for one in taken if one.kind is Kind.PUSHED and not one.skip)
    return state.model_copy(update={"line": line, "ready": (*state.ready, *builds)})


def _pull(state: State, wanted: Wanted) -> State:
    before = state.pulls.get(wanted.number, Pull())
    after = change(before, wanted)
    if after is None:
        return state
    pulls = {number: pull for number, pull in state.pulls.items() if number != wanted.number}
    kept = dict(list(pulls.items())[-(PULLS_MAX - 1) :])
    is_new = (after.is_open, after.commit) != (before.is_open, before.commit) and (after.is_open or before.is_open)
    ready = (*state.ready, wanted) if is_new and not wanted.skip else state.ready
    return state.model_copy(update={"pulls": {**kept, wanted.number: after}, "ready": ready})

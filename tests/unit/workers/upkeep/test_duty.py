"""A duty that one node has for all: who asks when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.upkeep.jobs import Duty

HOLD_SECONDS = 2.0


class OneHold:
    """The hold as scripts/lead.lua keeps it, on a clock of its own."""

    def __init__(self):
        self.now, self.holder, self.ends, self.asked = 0.0, "", 0.0, 0

    def led_by_other_seconds(self, node_id, seconds, duty):
        self.asked += 1
        if self.holder != node_id and self.now < self.ends:
            return self.ends - self.now
        self.holder, self.ends = node_id, self.now + seconds
        return 0


def duties(hold, count):
    return [Duty(hold, f"node-{n}", "sweeper", HOLD_SECONDS, clock=lambda: hold.now) for n in range(count)]


def test_nodes_that_wait_ask_half_as_often_as_the_one_that_sweeps():
    hold = OneHold()
    one, other = duties(hold, 2)
    for second in range(100):
        hold.now = float(second)
        assert one.is_mine()
        hold.now += 0.4
        assert not other.is_mine()
    assert hold.asked <= 100 + 51


# In steps of which sums are exact.
PHASES = st.lists(st.integers(0, 127).map(lambda step: step / 128), min_size=2, max_size=5)


@given(PHASES, st.integers(1, 20))
def test_a_holder_that_dies_is_followed_a_hold_and_a_second_later(phases, dies):
    """Each node asks once a second, at a moment of its own."""
    hold = OneHold()
    first, *others = duties(hold, len(phases))
    asks = sorted((second + phase, n) for second in range(dies + 5) for n, phase in enumerate(phases))
    for at, n in asks:
        hold.now = at
        if n == 0 and at <= dies:
            assert first.is_mine()
        elif n > 0 and at >= phases[0] and others[n - 1].is_mine():
            assert at <= dies + HOLD_SECONDS + 1
            return
    raise AssertionError("nobody followed")

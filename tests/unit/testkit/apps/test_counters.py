from testkit.apps import counters


class Clock:
    """Time goes on only while somebody waits."""

    def __init__(self, monkeypatch, *, late):
        self.now, self.late = 0.0, late
        monkeypatch.setattr(counters, "_now", lambda: self.now)
        monkeypatch.setattr(counters, "_pause", self.wait)

    def wait(self, seconds):
        self.now += seconds

    def counter(self):
        return 29_859 if self.now >= self.late else 0


def test_a_counter_that_is_written_after_its_request_is_waited_for(monkeypatch):
    clock = Clock(monkeypatch, late=counters.BEHIND_SECONDS - 0.5)
    assert counters.settled(clock.counter) == 29_859


def test_it_is_read_until_it_stands_still(monkeypatch):
    clock = Clock(monkeypatch, late=0)
    assert counters.settled(lambda: min(int(clock.now), 12)) == 12


def test_a_counter_that_stays_is_told_in_time(monkeypatch):
    clock = Clock(monkeypatch, late=1e9)
    assert counters.settled(clock.counter) == 0
    assert clock.now < 2 * counters.BEHIND_SECONDS

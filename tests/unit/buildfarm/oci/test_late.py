"""What was pushed a moment ago, on a registry that shows it later."""

from __future__ import annotations

import pytest

from buildfarm.errors import RegistryError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.retry import once_seen


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def pause(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


def test_what_is_shown_later_is_read(clock):
    def read():
        if clock.now < 103:
            raise NotInRegistryError("not yet")
        return "content"

    assert once_seen(read, NotInRegistryError, pause=clock.pause, clock=clock) == "content"
    assert 103 <= clock.now < 104


def test_what_is_not_there_is_told_in_time(clock):
    def read():
        raise NotInRegistryError("never")

    with pytest.raises(NotInRegistryError):
        once_seen(read, NotInRegistryError, pause=clock.pause, clock=clock)
    assert clock.now - 100 <= 6


def test_another_error_ends_it_at_once(clock):
    def read():
        raise RegistryError("refused")

    with pytest.raises(RegistryError, match="refused"):
        once_seen(read, NotInRegistryError, pause=clock.pause, clock=clock)
    assert clock.now == 100

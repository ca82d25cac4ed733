"""An attempt's lease, deadline and word to stop; Redis is a function that answers or fails."""

from __future__ import annotations

import threading

import pytest

from buildfarm.errors import Cancelled, DeadlineError, LeaseLost, NodeError, NodeStopped, StoreError
from buildfarm.model import Phase
from buildfarm.telemetry import logger
from workers.attempt.attempt import Attempt, Times
from workers.attempt.log import BuildLog


def make(renew, *, outage_seconds=5.0, build_seconds=60.0, append=lambda phase, lines, batch: None):
    return Attempt(
        renew,
        BuildLog(append),
        times=Times(renew=0.01, build=build_seconds, outage=outage_seconds),
        observe=lambda phase, seconds: None,
        logger=logger(),
    )


def until(progress, kind):
    """Checks until the attempt ends, for at most a few seconds."""
    waiting = threading.Event()
    with pytest.raises(kind):
        for _ in range(500):
            progress.check()
            waiting.wait(0.01)


def test_phases_are_told_and_timed():
    told = []
    with make(told.append) as progress:
        for phase in (Phase.PREPARE, Phase.DETECT):
            with progress.phase(phase):
                assert progress.current is phase
                for _ in range(500):
                    if phase in told:
                        break
                    threading.Event().wait(0.01)
    assert told[-1] is Phase.DETECT
    assert Phase.PREPARE in told
    assert set(progress.seconds) == {Phase.PREPARE, Phase.DETECT}


@pytest.mark.parametrize("reason", [Cancelled("by its owner"), LeaseLost("a newer attempt")])
def test_what_the_record_says_ends_the_attempt(reason):
    def renew(phase):
        raise reason

    with make(renew) as progress:
        until(progress, type(reason))


def test_once_it_is_decided_a_cancel_comes_too_late_and_a_lost_lease_does_not():
    with make(lambda phase: None) as progress:
        progress.decide()
        progress.stop(Cancelled("by its owner"))
        progress.check()
    with make(lambda phase: None) as progress:
        progress.decide()
        progress.stop(LeaseLost("a newer attempt"))
        with pytest.raises(LeaseLost):
            progress.check()


def test_once_the_record_is_written_a_lost_lease_ends_nothing_and_a_drain_does():
    with make(lambda phase: None) as progress:
        progress.stop(LeaseLost("the build has ended"))
        progress.release()
        progress.check()
        progress.stop(LeaseLost("the build has ended"))
        progress.check()
        progress.stop(NodeStopped("the node drains"))
        with pytest.raises(NodeStopped):
            progress.check()


def test_once_it_is_decided_a_cancel_does_not_hide_a_drain():
    with make(lambda phase: None) as progress:
        progress.decide()
        progress.stop(Cancelled("by its owner"))
        progress.stop(NodeStopped("the node drains"))
        with pytest.raises(NodeStopped):
            progress.check()


def test_once_the_record_is_written_the_lease_is_renewed_no_more_and_the_deadline_holds():
    renewals = []
    with make(renewals.append, build_seconds=0.3) as progress:
        progress.release()
        progress._keeper.join(5)
        renewed = len(renewals)
        until(progress, NodeError)
        assert len(renewals) == renewed


def test_a_lease_that_cannot_be_renewed_for_a_whole_outage_is_lost_by_our_own_clock():
    def renew(phase):
        raise StoreError("Redis does not answer.")

    with make(renew, outage_seconds=0.1) as progress:
        until(progress, LeaseLost)


def test_a_silence_of_redis_is_borne():
    answers = iter([StoreError("away"), StoreError("away")])
    renewed = threading.Event()

    def renew(phase):
        error = next(answers, None)
        if error is not None:
            raise error
        renewed.set()

    with make(renew) as progress:
        assert renewed.wait(30)
        progress.check()


def test_a_build_has_a_deadline():
    with make(lambda phase: None, build_seconds=0.05) as progress:
        until(progress, DeadlineError)


def test_what_the_farm_takes_long_for_is_not_the_apps_fault():
    with (
        make(lambda phase: None, build_seconds=0.5, outage_seconds=0.1) as progress,  # it begins to send before its end
        pytest.raises(NodeError, match="could not be sent"),
        progress.phase(Phase.EXPORT),
    ):
        until(progress, NodeError)
        progress.check()


def test_an_attempt_that_does_not_end_gives_its_lease_up(monkeypatch):
    monkeypatch.setattr("workers.attempt.attempt._STUCK_SECONDS", 0.05)
    renewals = []
    with make(renewals.append, build_seconds=0.05) as progress:
        waiting = threading.Event()
        for _ in range(500):
            if progress.stuck and isinstance(progress._stop_reason, LeaseLost):
                break
            waiting.wait(0.01)
        count = len(renewals)
        waiting.wait(0.1)
        assert progress.stuck
        assert len(renewals) == count


def test_a_logs_thread_starts_with_its_first_line():
    sent = threading.Event()

    def threads():
        return [thread for thread in threading.enumerate() if thread.name == "log"]

    with make(lambda phase: None, append=lambda *_: sent.set()) as progress:
        with progress.phase(Phase.DETECT):
            assert threads() == []
        progress.say("a line")
        assert sent.wait(30)
        progress.say("another")
        assert len(threads()) == 1
    assert threads() == []


def test_a_log_that_is_refused_ends_the_attempt():
    def append(phase, lines, batch):
        raise LeaseLost("a newer attempt")

    with make(lambda phase: None, append=append) as progress:
        progress.write(b"line\n")
        until(progress, LeaseLost)


def test_a_log_that_stalls_holds_nobody_up():
    written, in_time = threading.Event(), []

    def append(phase, lines, batch):
        in_time.append(written.wait(60))

    with make(lambda phase: None, append=append) as progress:
        for _ in range(20):
            progress.write(b"line\n")
            progress.check()
        written.set()
    assert in_time[0]


def test_the_first_reason_to_stop_stands():
    with make(lambda phase: None) as progress:
        progress.stop(NodeError("first"))
        progress.stop(Cancelled("second"))
        with pytest.raises(NodeError, match="first"):
            progress.check()


def test_a_write_that_must_not_be_lost_is_made_when_redis_is_back():
    answers = iter([StoreError("away"), None])
    written = []

    def write():
        error = next(answers)
        if error is not None:
            raise error
        written.append(True)

    with make(lambda phase: None) as progress:
        progress.persist(write)
    assert written == [True]

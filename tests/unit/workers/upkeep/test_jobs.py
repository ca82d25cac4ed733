"""Jobs that a node does again and again."""

from __future__ import annotations

import threading

from buildfarm.telemetry import logger
from workers.upkeep.jobs import PeriodicJobs


def test_the_end_of_the_node_ends_a_jobs_rest():
    jobs, rests, answers = PeriodicJobs(logger(), print), threading.Event(), []

    def job() -> None:
        rests.set()
        answers.append(jobs.pause(600))

    jobs.every(600, job, "rests")
    assert rests.wait(60)
    jobs.close()
    assert answers == [True]


def test_a_rest_that_nothing_ends_says_so():
    assert not PeriodicJobs(logger(), print).pause(0)

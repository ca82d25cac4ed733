"""Waiting: until something is true, or until several jobs have ended, never for ever and never deaf to an interrupt."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.1


def wait_until(check: Callable[[], bool], seconds: float) -> bool:
    """True as soon as ``check`` is; False when it still is not after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def run_side_by_side(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Every job's result, in order; the first failure is raised at once, without waiting for the other jobs."""
    futures = [_start(job) for job in jobs]
    ended = wait(futures, return_when=FIRST_EXCEPTION).done
    for future in ended:
        future.result()
    return [future.result() for future in futures]


def _start(job: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(job())
        except BaseException as error:  # noqa: BLE001 - raised again when the result is requested
            future.set_exception(error)

    # A daemon: an executor's threads would hold an interrupted process until the last image is built.
    Thread(target=run, daemon=True).start()
    return future

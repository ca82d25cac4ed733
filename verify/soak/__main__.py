"""A farm that does builds for many of their lives, and must not grow: ``python -m verify.soak`` on a farm that is up.

MINUTES is how long, 45 unless it says otherwise, and RATE how many builds a second, 20 unless it does. Redis and
registry are separate ones; see docs/operating.md.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from buildfarm.farm import Farm, open_farm
from buildfarm.settings import read_settings
from testkit.registry.own import registry_on
from testkit.table import Claims
from verify.queue.small_redis import small_redis
from verify.soak import lives
from verify.soak.checking import Checking
from verify.soak.lives import Sample
from verify.soak.node import SPAN
from verify.soak.nodes import NODES, complaints, node
from verify.soak.report import report
from verify.soak.rooms import Rooms, rooms
from verify.soak.submitting import Submitting
from verify.soak.times import FULL_MINUTES, RATE, Plan
from verify.soak.watching import Watching

RESULTS = Path(__file__).parents[2] / "bench" / "results" / "soak.json"
_NICE = 10
_SAMPLE_SECONDS = 2.0
_BEHIND = 0.3  # of a life


def main() -> None:
    """Runs it, and prints the table."""
    os.nice(_NICE)
    for number in (signal.SIGINT, signal.SIGTERM):  # also if the shell that started it has it ignored
        signal.signal(number, lambda *_: sys.exit("stopped by a signal"))
    plan = Plan(float(os.environ.get("MINUTES") or FULL_MINUTES), float(os.environ.get("RATE") or RATE))
    if plan.problem:
        sys.exit(plan.problem)
    claims = Claims(f"Soak of {plan.minutes:g} minutes, {plan.lives} lives of {plan.life_seconds:.0f} s")
    with rooms() as own, ExitStack() as stack:
        farm = stack.enter_context(_farm(own, plan))
        figures = Soak(farm, own, plan).run()
        figures["complaints"], figures["first_complaints"] = complaints(own.folder)
    report(claims, plan, figures)
    if plan.is_full:
        RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    else:
        print(json.dumps(figures, indent=2), flush=True)
    claims.finish()


@contextmanager
def _farm(own: Rooms, plan: Plan) -> Iterator[Farm]:
    """The farm, with its nodes."""
    redis, registry = own.containers
    with ExitStack() as stack:
        stack.enter_context(small_redis("512mb", name=redis))
        stack.enter_context(registry_on(own.disk, read_settings().docker_url, registry))
        store, place = own.addresses()
        os.environ.update(plan.variables())
        os.environ |= {
            "BUILDFARM_REDIS_URL": f"redis://{store}/0", "BUILDFARM_REGISTRY_URL": f"http://{place}",
            "BUILDFARM_REGISTRY_STORAGE": str(own.disk), SPAN: str(plan.span_seconds),
            "BUILDFARM_NAMESPACE": "soak:", "BUILDFARM_BUILDER": "", "BUILDFARM_IMAGER": "",
        }  # fmt: skip
        farm = stack.enter_context(open_farm(read_settings()))
        Watching(farm, own.disk).fill_events()
        for number in range(NODES):
            stack.enter_context(node(own, number))
        yield farm


class Soak:
    """One run: who submits and who checks are threads, and this one measures."""

    def __init__(self, farm: Farm, own: Rooms, plan: Plan) -> None:
        self.plan = plan
        self.watching = Watching(farm, own.disk)
        self.ended = threading.Event()
        life_seconds = plan.life_seconds
        history = replace(farm.history, registry=lambda: farm.registry)  # it tries again
        image_seconds = farm.settings.record_seconds
        self.checking = Checking(history, life_seconds, image_seconds, lambda: self.submitting.submitted, self.ended)
        self.submitting = Submitting(
            farm, plan.rate, life_seconds * _BEHIND, lambda: self.checking.behind_seconds, self.ended
        )
        self.samples: list[Sample] = []
        self.censuses: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        """Returns the figures."""
        threads = [threading.Thread(target=part.run, daemon=True) for part in (self.submitting, self.checking)]
        for thread in threads:
            thread.start()
        self._measure(threads)
        self.ended.set()
        for thread in threads:
            thread.join()
        self.checking.gone()
        return self._figures()

    def _measure(self, threads: list[threading.Thread]) -> None:
        began, until = time.monotonic(), self.plan.minutes * 60
        while (seconds := time.monotonic() - began) < until and all(thread.is_alive() for thread in threads):
            self.samples.append(self.watching.sample(seconds, self.submitting.submitted))
            if seconds // self.plan.life_seconds > len(self.censuses):
                self._count(seconds)
            time.sleep(_SAMPLE_SECONDS)

    def _count(self, seconds: float) -> None:
        """What there is at the end of a life."""
        submitting, checking = self.submitting, self.checking
        told = f"{submitting.submitted} submitted, {checking.checked} checked, {self.samples[-1]}"
        print(f"{seconds:.0f} s: {told}, waited {submitting.waited_seconds:.0f} s", flush=True)
        watching = self.watching
        self.censuses.append({"memory": watching.memory(), "keys": watching.keys(), "files": watching.files()})

    def _figures(self) -> dict[str, Any]:
        submitting, checking, plan = self.submitting, self.checking, self.plan
        return {
            "minutes": plan.minutes, "life_seconds": plan.life_seconds, "compared": plan.compared,
            "builds": submitting.submitted, "checked": checking.checked, "refused": submitting.refused,
            "waited_seconds": round(submitting.waited_seconds), "log_bytes": checking.log_bytes,
            "attempts": checking.attempts, "wrong": {what: found[:20] for what, found in checking.wrong.items()},
            "wrong_counts": {what: len(found) for what, found in checking.wrong.items()},
            "growth": lives.growth(self.samples, *plan.compared, plan.life_seconds),
            "lives": lives.table(self.samples, plan.lives, plan.life_seconds), "censuses": self.censuses,
        }  # fmt: skip


if __name__ == "__main__":
    main()

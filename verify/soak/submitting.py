"""Submits the builds of a soak at their rate."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.errors import BuildfarmError
from buildfarm.farm import Farm
from buildfarm.model import BuildRequest, RunPolicy
from buildfarm.oci.digest import Digest
from buildfarm.sources.address import ArtifactSource
from verify.soak import made

_LATE_SECONDS = 1.0  # more than this is not made up for
_PAUSE_SECONDS = 0.2


@dataclass
class Submitting:
    """Builds in the order of their numbers. It waits if the farm is too far behind, which a slow machine may be."""

    farm: Farm
    rate: float
    behind_max_seconds: float
    behind_seconds: Callable[[], float]  # for how long the oldest build that was not archived has been there
    stopped: threading.Event
    submitted: int = 0
    waited_seconds: float = 0.0
    refused: Counter[str] = field(default_factory=Counter)  # by the error's code

    def run(self) -> None:
        """Until it is stopped."""
        due = time.monotonic()
        while not self.stopped.is_set():
            self._wait_for_others()
            due = max(due + 1 / self.rate, time.monotonic() - _LATE_SECONDS)
            self.stopped.wait(max(0.0, due - time.monotonic()))
            try:
                self._submit(self.submitted)
            except BuildfarmError as error:
                self.refused[error.code] += 1
                self.stopped.wait(_PAUSE_SECONDS)
            else:
                self.submitted += 1

    def _wait_for_others(self) -> None:
        began = time.monotonic()
        while self.behind_seconds() > self.behind_max_seconds and not self.stopped.is_set():
            self.stopped.wait(_PAUSE_SECONDS)
        self.waited_seconds += time.monotonic() - began

    def _submit(self, number: int) -> None:
        tenant, app = made.place_of(number)
        source = self._source(number, tenant)
        request = BuildRequest(tenant=tenant, app=app, source=source, run_policy=RunPolicy.ALL, cached_result=False)
        self.farm.submit(request, build_id=made.id_of(number))

    def _source(self, number: int, tenant: str) -> ArtifactSource:
        if not made.has_source(number):
            return ArtifactSource(repository=f"sources/{tenant}", digest=Digest.of(made.id_of(number).encode()))
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "main.txt").write_text(f"source of {number}\n")
            return self.farm.pack(Path(folder), tenant)[0]

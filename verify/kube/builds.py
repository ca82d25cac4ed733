"""Builds that linger for as long as a trial needs them to, and what became of them."""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from buildfarm.farm import Farm
from buildfarm.model import Build, BuildRequest, State
from testkit.cluster.shell import wait

_END_SECONDS = 240


class Builds:
    """Submits builds straight to the store and the registry; ``folder`` holds their apps."""

    def __init__(self, farm: Farm, folder: Path) -> None:
        self.farm = farm
        self._folder = folder

    def submit(self, seconds: float) -> str:
        """A build's id; it is its own app, and its compile phase takes this long."""
        app = f"a{uuid.uuid4().hex[:8]}"
        source, _ = self.farm.pack(self.app(seconds), "kube")
        return self.farm.submit(BuildRequest(tenant="kube", app=app, source=source, cached_result=False)).id

    def app(self, seconds: float) -> Path:
        """The folder of an app that takes this long to build."""
        folder = self._folder / f"app-{seconds}"
        if not folder.exists():
            folder.mkdir()
            (folder / "package.json").write_text(json.dumps({"scripts": {"build": f"echo begun; sleep {seconds}"}}))
            (folder / "Procfile").write_text("web: true\n")
        return folder

    def begun(self, build_id: str, *, seconds: float = 120) -> Build:
        """The build, when the customer's code runs. Raises TimeoutError."""
        found: list[Build] = []

        def there() -> bool:
            found[:] = [self.farm.get(build_id)]
            if found[0].state.final:
                raise TimeoutError(f"it ended: {found[0].state} {found[0].failure}")
            return any("begun" in line.text for line in self.farm.logs(build_id))

        wait(there, lambda: f"the build does not begin: {found}", seconds)
        return self.farm.get(build_id)

    def ended(self, build_id: str) -> Build:
        """The build at its end, or after some minutes as it is."""
        return self.farm.wait(build_id, timeout_seconds=_END_SECONDS)

    @contextmanager
    def load(self, *, every_seconds: float, seconds: float) -> Iterator[list[str]]:
        """For the length of the block a build comes in now and then; the list of their ids grows."""
        ids: list[str] = []
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(every_seconds):
                ids.append(self.submit(seconds))

        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        try:
            yield ids
        finally:
            over.set()
            thread.join()


def outcome(builds: list[Build]) -> tuple[bool, str]:
    """Whether all succeeded at their first attempt, and how they ended in words."""
    states = Counter(str(build.state) for build in builds)
    attempts = Counter(build.attempt for build in builds)
    failures = {build.failure.message for build in builds if build.failure}
    text = f"{len(builds)} builds: {dict(states)}, attempts {dict(attempts)}"
    well = bool(builds) and all(build.state is State.SUCCEEDED and build.attempt == 1 for build in builds)
    return well, "; ".join([text, *sorted(failures)[:2]])

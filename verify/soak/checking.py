"""Reads every build of a soak once it is archived, and looks for what should be gone."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from buildfarm.errors import BuildfarmError, NotFoundError, RegistryError
from buildfarm.model import Build, State
from buildfarm.store.archive import History
from buildfarm.store.archive.log_text import decode_groups
from verify.soak import made

YOUNG, LATE = 1 / 16, 1 / 2  # of a life: when builds are first asked for, and when it is time for the archive

_PAUSE_SECONDS = 5.0
_SHOWN_MAX = 20
_GONE_EACH = 20  # of so many builds one is looked for when its life is over


@dataclass
class Checking:
    """Looks at each build when it is archived, which is soon after others for those with a large log."""

    history: History
    life_seconds: float
    image_seconds: float  # how long an image stays by its record
    submitted: Callable[[], int]
    stopped: threading.Event  # those that were submitted are still looked at
    known: int = 0
    waiting: dict[int, float] = field(default_factory=dict)  # by number, from when on; oldest first
    log_bytes: int = 0
    attempts: Counter[int] = field(default_factory=Counter)
    wrong: dict[str, list[str]] = field(default_factory=dict)  # what is wrong: sentences

    @property
    def checked(self) -> int:
        """How many builds were looked at."""
        return self.known - len(self.waiting)

    @property
    def behind_seconds(self) -> float:
        """For how long the first of those that were not has been waiting."""
        return time.monotonic() - next(iter(list(self.waiting.values())), time.monotonic())

    def run(self) -> None:
        """Until everything that was submitted has been looked at."""
        while not self.stopped.is_set() or self.checked < self.submitted():
            until = self.submitted()
            self.waiting.update({number: time.monotonic() for number in range(self.known, until)})
            self.known = until
            # An app's builds one after another: they are in the same packs, whose indexes are then read once.
            for number in sorted(self.waiting, key=made.place_of):
                if self._is_checked(number):
                    del self.waiting[number]
            time.sleep(_PAUSE_SECONDS)

    def gone(self) -> None:
        """Looks for some of the builds whose lives are over."""
        before = time.time() - self.life_seconds
        for number in range(0, self.known, _GONE_EACH):
            found = self._build(number)
            if found and found.submitted_at < before:
                self._note("not gone", number, f"it is still known {time.time() - found.submitted_at:.0f} s later")

    def _is_checked(self, number: int) -> bool:
        """Whether there is nothing more to wait for; most of those that just came are too young to be asked for."""
        waits = time.monotonic() - self.waiting[number]
        is_late = waits > self.life_seconds * LATE
        if waits < self.life_seconds * YOUNG:
            return False
        try:
            return self._is_archived(number, is_late=is_late)
        except NotFoundError:
            self._note("lost build", number, f"it is unknown after {waits:.0f} s")
        except BuildfarmError as error:
            if not is_late:
                return False
            self._note("unreadable", number, error.message)
        return True

    def _is_archived(self, number: int, *, is_late: bool) -> bool:
        """Looks at it if it is. One that should be must still be known: raises NotFoundError."""
        build_id = made.id_of(number)
        is_archived = self.history.catalog.where(build_id) is not None
        if is_archived:
            self._look(number, self.history.get(build_id))
        elif is_late:
            self.history.get(build_id)
        return is_archived

    def _look(self, number: int, build: Build) -> None:
        wanted = State.FAILED if made.fails(number) else State.SUCCEEDED
        if build.state is not wanted:
            self._note("other end", number, f"{build.state}: {build.failure}")
        self._look_at_image(number, build)
        lines = self._lines(build)
        expected = list(made.lines_of(number))
        if lines != expected:
            last = lines[-1][:200] if lines else ""
            self._note("other log", number, f"{len(lines)} lines instead of {len(expected)}; the last one: {last}")
        self.attempts[build.attempt] += 1
        self.log_bytes += sum(map(len, lines))

    def _lines(self, build: Build) -> list[str]:
        """Its log in the archive; as single `LogLine` objects, reading it would take most of the soak's time."""
        groups = decode_groups(self.history.packed(build.id) or b"")
        try:
            return [text for group in groups if group.attempt == build.attempt for text in group.texts]
        except ValueError as error:
            raise RegistryError(f"The log of {build.id} cannot be read: {error}.") from error

    def _look_at_image(self, number: int, build: Build) -> None:
        if build.result is None or build.finished_at is None:
            return
        is_there = self.history.registry().has_manifest(build.result.repository, build.result.digest)
        if not is_there and time.time() - build.finished_at < self.image_seconds:
            self._note("lost image", number, str(build.result.digest))

    def _build(self, number: int) -> Build | None:
        try:
            return self.history.get(made.id_of(number))
        except NotFoundError:
            return None

    def _note(self, what: str, number: int, sentence: str) -> None:
        found = self.wrong.setdefault(what, [])
        found.append(f"{number}: {sentence}")
        if len(found) <= _SHOWN_MAX:
            print(f"{what}: build {number}: {sentence}", flush=True)

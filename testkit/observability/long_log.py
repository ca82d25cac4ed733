"""A farm with an API and without nodes, and builds in it that ended with logs as long as a test wants."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from buildfarm.events import LogLine
from buildfarm.farm import open_farm
from buildfarm.model import Phase
from buildfarm.settings import read_settings
from buildfarm.store.archive.log_text import encode_log
from buildfarm.store.archive.sent_logs import repository_of_logs
from testkit.archive import FAILURE, Life
from testkit.builds import empty_namespace
from testkit.serving import Api, serving

LINES = 400_000
ERROR_LINE = 399_001  # of `long_log`: the line that explains the failure
NEEDLE_LINES = (77, 200_000, 399_500)


@dataclass(frozen=True)
class Shelf:
    """The farm, and its API."""

    life: Life
    api: Api

    def ended(self, lines: Iterable[tuple[Phase, str]], *, archived: bool = True) -> str:
        """A build that failed in compile after it printed these; its log is kept as a node and the archivist do it."""
        lease = self.life.begin(lines=0)
        keeper, records = self.life.logs, self.life.farm.records
        keeper.expect(lease, "node")
        self.life.leases.fail(lease, FAILURE)
        build = records.get(lease.build_id)
        at = int(build.submitted_at * 1000)
        content = encode_log(
            LogLine(position=f"{at}-{number}", attempt=1, phase=phase, text=text)
            for number, (phase, text) in enumerate(lines)
        )
        place = f"{build.request.tenant}/{build.request.app}"
        digest = self.life.farm.registry.put_blob(repository_of_logs(place), content)
        keeper.sent(lease.build_id, 1, digest, len(content))
        if archived:
            self.life.archive()
        return lease.build_id


@contextmanager
def quiet_farm() -> Iterator[Shelf]:
    """The farm for the length of the block; it leaves nothing in Redis."""
    settings = read_settings().model_copy(update={"namespace": f"longlog-{uuid.uuid4().hex[:8]}:"})
    with ExitStack() as stack:
        farm = stack.enter_context(open_farm(settings))
        stack.callback(empty_namespace, settings)
        yield Shelf(Life(farm), stack.enter_context(serving(farm)))


def long_log() -> Iterator[tuple[Phase, str]]:
    """So many lines of two buildpacks: some are long, some have wide letters, one is the error."""
    yield Phase.PREPARE, "-----> Cache restored (2.5 MB)"
    yield Phase.COMPILE, "-----> Node.js app"
    for number in range(3, LINES - 9):
        text = f"{number} npm http fetch GET 200 https://registry.example.org/package-{number % 977} {number % 89} ms"
        if number == ERROR_LINE:
            text = "error: cannot find module 'left-pad'"
        elif number in NEEDLE_LINES:
            text = f"the Needle of line {number}"
        elif number == 300_000:
            text = "-----> Python app"
        elif number % 1000 == 0:
            text = f"{number} " + "long " * 80 + "宽的字 \t end"
        yield Phase.COMPILE, text
    for number in range(10):
        yield Phase.COMPILE, f"the last lines: {number}"

"""What one node does for a whole farm, held by somebody else while others are looked at."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from buildfarm.store import Database, Nodes

HOLDER = "holder"

_RENEW_SECONDS = 1.0


@contextmanager
def others_duties(database: Database, duties: Mapping[str, float]) -> Iterator[None]:
    """For the length of the block no node has one of these duties.

    ``duties`` are the seconds of each hold, as nodes have them: a longer one counts as left from before a clock was
    set back.
    """
    over, nodes = threading.Event(), Nodes(database)

    def hold() -> None:
        while True:
            for duty, seconds in duties.items():
                nodes.lead(HOLDER, seconds, duty)
            if over.wait(_RENEW_SECONDS):
                return

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        database.client.delete(*map(database.key, duties))

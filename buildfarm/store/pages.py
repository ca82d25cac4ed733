"""Lists of builds, the newest first, a page at a time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from buildfarm.model import Build, State
from buildfarm.store.database import Database
from buildfarm.store.records import decode_all

READ = 200  # records read at once, at most
_AT_LEAST = 20
_LOOKS, _LOOKS_FOR_STATES = 10, 5  # for one page; of the latter, each takes 5 ms of processor time


@dataclass(frozen=True)
class Pages:
    """Every method raises StoreError where Redis cannot be reached."""

    database: Database

    def page(
        self,
        limit: int,
        *,
        tenant: str | None = None,
        app: str | None = None,
        states: Collection[State] = (),
        after: str = "",
    ) -> tuple[list[Build], str | None]:
        """A page of builds, and where the next one begins: None at the end.

        A page looks at a bounded number of records, so that it may be shorter than ``limit`` and not the last.
        """
        if tenant and app:
            index = self.database.key("app", f"{tenant}/{app}")
        else:
            index = self.database.key("builds", tenant) if tenant else self.database.key("builds")
        found: list[Build] = []
        # Where every build counts, no more are read than the page has, and one that shows that there is another page.
        at_once = READ if states or (app and not tenant) else min(max(limit + 1, _AT_LEAST), READ)
        for _ in range(_LOOKS_FOR_STATES if states else _LOOKS):
            entries = self._below(index, after, at_once, states)
            for (entry, _), build in zip(entries, decode_all(record for _, record in entries), strict=True):
                after = entry
                if build is None or app not in (None, build.request.app) or (states and build.state not in states):
                    continue
                found.append(build)
                if len(found) == limit:
                    return found, after
            if len(entries) < at_once:
                return found, None
            at_once = READ  # some records are gone, and perhaps many
        return found, after

    def of_app(self, tenant: str, app: str, after: str, limit: int) -> tuple[list[tuple[str, dict[str, str]]], bool]:
        """The positions and records of an app's next builds, and whether there may be more.

        A record is empty if it is gone meanwhile.
        """
        found = self._below(self.database.key("app", f"{tenant}/{app}"), after, min(limit, READ))
        return found, len(found) == min(limit, READ)

    def _below(
        self, index: str, after: str, limit: int, states: Collection[State] = ()
    ) -> list[tuple[str, dict[str, str]]]:
        """The next records below a position, which is a time and an id; with ``states``, those in others are empty."""
        time, _, last = after.partition(":")
        with self.database.failures():
            # Some of the same time may have been on the page before.
            entries: Any = self.database.client.zrange(
                index, time or "+inf", "-inf", desc=True, byscore=True, withscores=True, offset=0, num=READ + 20
            )
            below = [(name, score) for name, score in entries if not after or (score, name) < (float(time), last)]
            names = [name for name, _ in below[:limit]]
            wanted = self._in(states, names) if states else names
            pipeline = self.database.client.pipeline(transaction=False)
            for name in wanted:
                pipeline.hgetall(self.database.key("build", name))
            records: Any = dict(zip(wanted, pipeline.execute(), strict=True))
        return [(f"{score:.6f}:{name}", records.get(name, {})) for name, score in below[:limit]]

    def _in(self, states: Collection[State], names: list[str]) -> list[str]:
        pipeline = self.database.client.pipeline(transaction=False)
        for name in names:
            pipeline.hget(self.database.key("build", name), "state")
        return [name for name, state in zip(names, pipeline.execute(), strict=True) if state in states]

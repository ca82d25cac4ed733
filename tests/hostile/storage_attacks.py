"""A token that uploads until the registry is full: it is stopped at its tenant's limit, and others do not notice."""

from __future__ import annotations

import gzip
import io
import os
import tarfile

from testkit.serving import serving
from tests.hostile.arena import MIB, Arena
from tests.hostile.attack import Outcome, attack, succeeds

LIMIT_BYTES = 100 * MIB
SOURCE_BYTES = 12 * MIB
TRIES = 20


@attack(
    f"uploads without end are refused at the tenant's {LIMIT_BYTES // MIB} MiB, and another tenant's build succeeds"
)
def uploads_without_end(arena: Arena) -> Outcome:
    statuses = []
    with serving(arena.farm) as api, api.as_("greedy", "read", "submit") as client:
        arena.farm.set_limits("greedy", bytes=LIMIT_BYTES)
        for _ in range(TRIES):
            answer = client.post("/v1/sources", content=_source(), headers={"Content-Type": "application/gzip"})
            statuses.append(answer.status_code)
        refused = answer.json()
        used = sum(client.get("/v1/usage/greedy").json().values())
    other = succeeds(arena, arena.submit(arena.source({"index.html": "calm"}), "calm", "calm"))
    taken = statuses.count(201)
    good = (
        statuses == [201] * taken + [422] * (TRIES - taken)
        and LIMIT_BYTES - SOURCE_BYTES - MIB <= used <= LIMIT_BYTES
        and refused["code"] == "request.storage_full"
        and "sources" in refused["detail"]
        and other.attempt == 1
    )
    return f"{taken} sources of {SOURCE_BYTES // MIB} MiB taken, {used / 1e6:.0f} MB; the other's build succeeded", good


def _source() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        item = tarfile.TarInfo("app/data")
        item.size = SOURCE_BYTES
        file.addfile(item, io.BytesIO(os.urandom(SOURCE_BYTES)))
    return gzip.compress(buffer.getvalue(), 1)

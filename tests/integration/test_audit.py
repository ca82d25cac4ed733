"""The audit log in Redis and in the registry, on a real one of each: its chain of hashes runs through both."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, fields, replace

import pytest

from buildfarm.access import Audit, AuditEntry
from buildfarm.errors import InternalError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.retry import UnavailableError
from buildfarm.store import Database, Nodes
from buildfarm.store.archive.audit import parts as audit_parts
from buildfarm.store.archive.audit.keeper import AuditKeeper
from buildfarm.store.archive.audit.parts import REPOSITORY, AuditParts
from buildfarm.telemetry import logger
from testkit.archive import Life, used_digests
from workers.upkeep.archiving import Archiving

DAY_MS = 86_400_000


@dataclass(frozen=True)
class AtNoon(Database):
    """The same Redis, at noon of one day: a test that runs at midnight must not find that today is over."""

    day: int = 0

    def now(self) -> float:
        return (self.day + 0.5) * DAY_MS / 1000


class Log:
    """An audit log with entries of earlier days."""

    def __init__(self, farm) -> None:
        self.farm, self.database, self.client = farm, farm.database, farm.database.client
        self.audit = Audit(farm.database, lambda: farm.quick_registry)
        self.today = int(farm.database.now() * 1000) // DAY_MS
        known = {field.name: getattr(farm.database, field.name) for field in fields(Database)}
        self.parts = AuditParts(AtNoon(**known, day=self.today))
        self.keeper = AuditKeeper(self.parts, farm.registry)

    def add(self, days_ago: int, count: int = 1) -> list[str]:
        """Entries as they would have been written then; their objects."""
        key = self.database.key
        found = []
        for _ in range(count):
            number = int(self.client.incr(key("audit", "head") + "-count"))
            values = {"who": "ci", "token": "", "tenant": "shop", "verb": "build.submit", "object": f"o{number}",
                      "result": "done", "address": "", "request_id": "", "at": 0}  # fmt: skip
            text = json.dumps(values, sort_keys=True, separators=(",", ":"))
            before = self.client.get(key("audit", "head")) or ""
            head = hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()
            at = (self.today - days_ago) * DAY_MS + number
            self.client.xadd(key("audit"), {"entry": text, "hash": head}, id=f"{at}-0")
            self.client.set(key("audit", "head"), head)
            found.append(values["object"])
        return found

    def shown(self, limit=1000, lost=None) -> list[str]:
        return [entry.object for entry in self.audit.newest(limit, lost)][::-1]

    def length(self) -> int:
        return int(self.client.xlen(self.database.key("audit")))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        settings = self.farm.settings
        return subprocess.run(
            [sys.executable, "-m", "buildfarm", "audit", *arguments],
            env={**os.environ, "BUILDFARM_NAMESPACE": settings.namespace, "COLUMNS": "200"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture
def log(farm):
    made = Log(farm)
    yield made
    for part in made.parts.all():
        with suppress(NotInRegistryError):
            farm.registry.delete_manifest(REPOSITORY, part.manifest)


def test_days_that_are_over_leave_redis_and_the_log_is_what_it_was(log):
    objects = [*log.add(3, 5), *log.add(2, 4), *log.add(1, 3), *log.add(0, 2)]
    before = log.audit.verify()
    assert log.keeper.move() == 12
    assert [(part.day, part.count) for part in log.parts.all()] == [
        (part.day, count) for part, count in zip(log.parts.all(), (5, 4, 3), strict=True)
    ]
    assert len({part.day for part in log.parts.all()}) == 3
    assert log.length() == 3, "today's, and the last one that was moved"
    assert log.keeper.move() == 0
    assert log.audit.verify() == before
    assert log.shown() == objects
    assert log.shown(limit=4) == objects[-4:]
    assert log.shown(limit=1) == objects[-1:]


def test_the_log_goes_on_after_its_entries_moved(log):
    objects = log.add(1, 3)
    assert log.keeper.move() == 3
    assert log.shown() == objects
    log.audit.add(AuditEntry("ci", "", "shop", "build.cancel", "newest", "done"))
    assert log.shown() == [*objects, "newest"]
    assert log.audit.verify().entries == 4
    assert log.length() == 2


def test_a_reader_of_the_version_before_finds_an_end_that_matches(log):
    log.add(1, 3)
    log.keeper.move()
    [(_, fields)] = log.client.xrange(log.database.key("audit"))
    assert fields["hash"] == log.client.get(log.database.key("audit", "head"))


def test_the_node_that_archives_builds_moves_entries_too(log, farm):
    life = Life(farm)
    build_id, objects = life.end(), log.add(1, 3)
    turn = Archiving("node", Nodes(farm.database), life.archivist, log.keeper, logger(), lambda _: False, 0.0).turn
    turn()
    turn()
    assert life.catalog.where(build_id)
    assert [part.count for part in log.parts.all()] == [3]
    assert log.shown() == objects


def test_a_busy_day_has_several_parts(log):
    objects = log.add(1, 10)
    parts = replace(log.parts, entries_max=4)
    assert replace(log.keeper, parts=parts).move() == 10
    assert [part.count for part in log.parts.all()] == [4, 4, 2]
    assert log.shown() == objects
    assert log.audit.verify().entries == 10


def test_two_nodes_that_move_at_once_move_each_entry_once(log, farm):
    objects = [*log.add(3, 20), *log.add(2, 20), *log.add(1, 20)]
    moved = []
    nodes = [threading.Thread(target=lambda: moved.append(log.keeper.move())) for _ in range(3)]
    for node in nodes:
        node.start()
    for node in nodes:
        node.join()
    log.keeper.move()
    assert [part.count for part in log.parts.all()] == [20, 20, 20]
    assert log.shown() == objects
    assert log.audit.verify().entries == 60


def test_a_node_that_died_before_the_list_was_written_is_followed(log, farm):
    log.add(1, 5)
    last, entries = log.parts.over()
    part = audit_parts.put_part(farm.registry, entries, "-")
    assert log.keeper.move() == 5
    assert log.parts.all() == [part]
    assert not log.parts.keep(part, last), "another node was faster"


def test_the_log_is_whole_for_a_reader_while_entries_move(log):
    log.add(2, 1500)
    log.add(1, 1500)
    stretches = log.audit._stretches()
    seen = list(next(stretches).entries)
    assert len(seen) == 1000
    log.keeper.move()
    for stretch in stretches:
        seen += stretch.entries
    assert [entry.position for entry in seen] == sorted({entry.position for entry in seen})
    assert len(seen) == 3000
    assert log.audit.verify().entries == 3000


def test_a_missing_blob_is_named_and_the_rest_is_shown(log, farm):
    first, gone, rest = log.add(3, 2), log.add(2, 2), [*log.add(1, 2), *log.add(0, 2)]
    head = log.audit.verify().head
    log.keeper.move()
    part = log.parts.all()[1]
    farm.registry.delete_blob(REPOSITORY, part.blob)
    lost = []
    assert log.shown(lost=lost) == [*first, *rest]
    assert len(gone) == 2
    assert len(lost) == 1
    assert f"The 2 audit entries of {part.day}" in lost[0]
    assert part.blob.hex in lost[0]
    verified = log.audit.verify()
    assert (verified.entries, verified.head, verified.lost) == (6, head, tuple(lost))
    shown = log.command()
    assert shown.returncode == 0
    assert part.day in shown.stderr
    assert all(name in shown.stdout for name in (*first, *rest))
    checked = log.command("--verify", "--json")
    assert checked.returncode == 4
    assert json.loads(checked.stdout) == {"entries": 6, "head": head, "lost": lost}
    log.keeper = AuditKeeper(log.parts, farm.registry, -1e9)
    newest = log.parts.all()[-1]
    assert log.keeper.remove_expired() == 6 - newest.count, "also one whose blob is missing"


def change(log, number, **fields):
    """Writes a part's row in the list anew."""
    key = log.database.key("audit", "parts")
    [(row, score)] = log.client.zrange(key, number, number, withscores=True)
    names = ["manifest", "blob", "size", "count", "first", "last", "before", "head"]
    values = dict(zip(names, row.split(" "), strict=True)) | fields
    log.client.zrem(key, row)
    log.client.zadd(key, {" ".join(map(str, values.values())): score})


def test_a_changed_entry_in_the_registry_is_named(log, farm):
    for days in (3, 2, 1, 0):
        log.add(days, 3)
    log.keeper.move()
    part = log.parts.all()[1]
    entries = audit_parts.read_part(farm.registry, part)
    forged = [
        *entries[:1],
        audit_parts.KeptEntry(entries[1].position, entries[1].text.replace("shop", "evil"), entries[1].hash),
        entries[2],
    ]
    fake, _, blob = audit_parts.packed(forged, part.before)
    farm.registry.put_blob(REPOSITORY, blob)
    change(log, 1, blob=fake.blob.hex, size=len(blob))
    with pytest.raises(InternalError, match=entries[1].position):
        log.audit.verify()
    checked = log.command("--verify")
    assert checked.returncode == 4
    assert entries[1].position in checked.stderr


def test_a_part_that_was_taken_out_is_missed(log):
    for days in (3, 2, 1, 0):
        log.add(days, 3)
    log.keeper.move()
    _, second, third = log.parts.all()
    log.parts.forget(second)
    with pytest.raises(InternalError, match=third.first):
        log.audit.verify()


def test_the_newest_part_that_was_taken_out_is_missed(log):
    log.add(2, 3)
    log.add(1, 3)
    log.keeper.move()
    log.parts.forget(log.parts.all()[-1])
    with pytest.raises(InternalError):
        log.audit.verify()


def test_without_a_registry_the_log_in_redis_is_shown(log):
    log.add(1, 3)
    log.keeper.move()
    today = log.add(0, 2)

    class Away:
        def read_blob(self, *_, **__):
            raise UnavailableError("the registry cannot be reached.")

    away, lost = Audit(log.database, Away), []
    assert [entry.object for entry in away.newest(10, lost)] == today[::-1]
    assert len(lost) == 1
    with pytest.raises(UnavailableError):
        away.verify()


def test_parts_are_removed_when_their_time_is_over_and_kept_until_then(log, farm):
    log.add(401, 2)
    log.add(399, 3)
    log.add(1, 1)
    assert log.keeper.move() == 6
    old, young, _ = log.parts.all()
    assert {str(old.manifest), str(young.manifest)} <= used_digests(farm)
    assert log.keeper.remove_expired() == 2
    assert log.parts.all()[0] == young
    assert not farm.registry.has_manifest(REPOSITORY, old.manifest)
    assert farm.registry.has_manifest(REPOSITORY, young.manifest)
    assert str(old.manifest) not in used_digests(farm)
    assert log.audit.verify().entries == 4
    assert log.keeper.remove_expired() == 0


def test_the_newest_part_stays_while_nobody_does_anything(log):
    log.add(401, 2)
    assert log.keeper.move() == 2
    assert log.keeper.remove_expired() == log.keeper.move() == 0
    assert log.audit.verify().entries == 2

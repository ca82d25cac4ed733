"""Large logs go whole from the node to the registry, while Redis has a window of them."""

from __future__ import annotations

import json
import re
import time

import pytest

from buildfarm.errors import RegistryError
from buildfarm.model import Phase, State
from buildfarm.oci.registry import Registry
from buildfarm.store import Lease, LogBounds, Logs
from buildfarm.telemetry import logger
from testkit.archive import FAILURE, Life, stands, used_digests
from testkit.builds import Builds, build_node, promised, wait_for, write_files
from workers.attempt.log import BuildLog
from workers.upkeep.spools import Spools


class Spooled(Life):
    """A farm where Redis has little of a log and the node all of it."""

    def __init__(self, farm, folder) -> None:
        super().__init__(farm)
        self.logs = Logs(farm.database, 50_000_000, LogBounds(head=4000, tail=8000))
        self.archivist = self.keeper()
        self.folder = folder
        self.spools = self.node(farm.registry)

    def node(self, registry, waiting_bytes: int = 10**9) -> Spools:
        spools = Spools(self.folder, waiting_bytes, "node", self.logs, registry, logger())
        spools.open()
        return spools

    def attempt(self, lease: Lease, lines: int) -> list[str]:
        """An attempt prints so many lines and ends; returns them."""
        self.spool = self.spools.begin(lease)
        append = lambda phase, batch, number: self.logs.append(lease, phase, batch, number)  # noqa: E731
        log = BuildLog(append, spool=self.spool)
        texts = [f"line {number:060} of attempt {lease.attempt}" for number in range(lines)]
        log.write("".join(f"{text}\n" for text in texts).encode())
        assert log.flush(now=True)
        return texts

    def printed(self, lines: int = 3000) -> tuple[str, list[str]]:
        """A build that printed so many lines and has ended; its log waits on its node."""
        lease = self.begin(lines=0)
        texts = self.attempt(lease, lines)
        self.leases.succeed(lease, self.result("a"))
        self.spools.end(lease, self.spool, f"{self.tenant}/a")
        return lease.build_id, texts

    def shown(self, build_id: str) -> list[str]:
        return [line.text for line in self.farm.logs(build_id)]


@pytest.fixture
def spooled(farm, tmp_path):
    return Spooled(farm, tmp_path / "logs")


def test_metrics_say_what_waits_for_the_archive(spooled):
    began = spooled.farm.database.now()
    spooled.printed()
    spooled.end()
    spooled.archivist.after_seconds = -100
    spooled.archivist.due()  # and the registry is away
    found = stands(spooled, look=False)
    assert (found["waiting_builds"], found["waiting_logs"]) == (2, 1)
    assert 100 <= found["overdue_seconds"] <= spooled.farm.database.now() - began + 100
    spooled.spools.send()
    spooled.archive()
    spooled.archivist.due()
    found = stands(spooled, look=False)
    assert (found["waiting_builds"], found["waiting_logs"], found["overdue_seconds"]) == (0, 0, 0)


def test_a_log_beyond_the_live_window_is_whole_once_the_build_has_ended(spooled):
    build_id, texts = spooled.printed()
    window = [line.text for line in spooled.logs.read(build_id)]
    assert any("missing here" in text for text in window)
    assert spooled.archive() == 0  # its log is still on the node
    spooled.spools.send()
    assert list(spooled.folder.iterdir()) == []
    assert spooled.shown(build_id) == texts
    assert [line.text for line in list(spooled.farm.follow(build_id))[:-1]] == texts
    assert spooled.keys("*:log*") == []
    blobs = spooled.farm.database.client.hget(spooled.farm.database.key("build", build_id), "log_blobs")
    assert blobs.removeprefix("1:").rpartition(":")[0] in used_digests(spooled.farm)
    positions = [line.position for line in spooled.farm.logs(build_id)]
    assert spooled.archive() == 1
    assert spooled.shown(build_id) == texts
    assert [line.position for line in spooled.farm.logs(build_id)] == positions


@pytest.mark.parametrize("waiting_bytes", [10**9, 0], ids=["sent", "over the bound"])
def test_a_note_that_the_disk_lost_does_not_hold_up_other_logs(spooled, waiting_bytes):
    lost, _ = spooled.printed()
    [note] = spooled.folder.glob("*.json")
    note.write_bytes(b"")
    other, texts = spooled.printed()
    spooled.node(spooled.farm.registry, waiting_bytes).send()
    assert list(spooled.folder.iterdir()) == []
    assert (spooled.shown(other) == texts) is bool(waiting_bytes)
    assert any("missing here" in text for text in spooled.shown(lost))


def test_who_follows_a_long_log_misses_nothing_when_it_leaves_redis(spooled):
    build_id, texts = spooled.printed()
    window = spooled.logs.read(build_id)
    spooled.spools.send()
    last = window[-3]
    assert [line.text for line in spooled.farm.logs(build_id, after=last.position)] == texts[-2:]


def test_logs_wait_on_the_node_while_the_registry_is_away(spooled):
    build_id, texts = spooled.printed()
    with Registry("http://127.0.0.1:9", timeout_seconds=1, attempts=1) as away, pytest.raises(RegistryError):
        spooled.node(away).send()
    restarted = spooled.node(spooled.farm.registry)
    assert [size > 1000 for size in restarted.waiting()] == [True]
    restarted.send()
    assert restarted.waiting() == []
    assert spooled.shown(build_id) == texts


def test_more_logs_than_may_wait_are_lost_and_the_window_remains(spooled):
    build_id, texts = spooled.printed()
    spooled.node(spooled.farm.registry, waiting_bytes=1000).send()
    assert list(spooled.folder.iterdir()) == []
    assert spooled.archive() == 1
    shown = spooled.shown(build_id)
    assert any("missing here" in text for text in shown)
    assert shown[-1] == texts[-1]


def test_of_a_node_that_died_the_window_remains(spooled):
    build_id, texts = spooled.printed()
    for path in spooled.folder.iterdir():
        path.unlink()
    assert spooled.archive() == 0
    spooled.archivist = spooled.keeper(patience=0)  # the time that it may wait is over
    assert spooled.archive() == 1
    assert spooled.shown(build_id)[-1] == texts[-1]


def test_attempts_whose_logs_are_in_different_places_are_one_log(spooled):
    lease = spooled.begin(lines=0)
    first = spooled.attempt(lease, 2000)
    spooled.leases.give_back(lease, FAILURE)
    spooled.spools.end(lease, spooled.spool, f"{spooled.tenant}/a")
    spooled.spools.send()
    again = spooled.leases.claim(lease.build_id, "other")
    second = spooled.attempt(again, 20)  # small: Redis has it
    spooled.leases.fail(again, FAILURE)
    spooled.spools.end(again, spooled.spool, f"{spooled.tenant}/a")
    assert spooled.shown(lease.build_id) == [*first, *second]
    last = spooled.farm.log_tail(lease.build_id, 30)
    assert [line.text for line in last] == [*first[-10:], *second]
    assert spooled.archive() == 1
    assert spooled.shown(lease.build_id) == [*first, *second]
    assert spooled.farm.log_tail(lease.build_id, 30) == last


def test_a_log_of_400_000_lines_is_what_was_printed(spooled):
    lease = spooled.begin(lines=0)
    spool = spooled.spools.begin(lease)
    texts = [f"{number:>8} {'x' * 115}" for number in range(400_000)]
    for start in range(0, len(texts), 200):
        batch = texts[start : start + 200]
        for text in batch:
            spool.add(Phase.COMPILE, text)
        if start % 20_000 == 0:
            spool.sent(start, len(batch), spooled.logs.append(lease, Phase.COMPILE, batch, start + 1))
    spool.announce()
    spooled.leases.succeed(lease, spooled.result("a"))
    spooled.spools.end(lease, spool, f"{spooled.tenant}/a")
    spooled.spools.send()
    started = time.monotonic()
    lines = spooled.farm.logs(lease.build_id)
    assert next(lines).text == texts[0]
    assert time.monotonic() - started < promised(2)
    assert sum(line.text == text for line, text in zip(lines, texts[1:], strict=True)) == len(texts) - 1
    started = time.monotonic()
    assert [line.text for line in spooled.farm.log_tail(lease.build_id, 10)] == texts[-10:]
    assert time.monotonic() - started < promised(2)


def test_a_node_archives_what_it_built_with_all_that_was_printed(farm, tmp_path):
    builds = Builds(farm, None)
    script = "seq -f 'this is line %.0f of very many' 1 60000"
    window = {"BUILDFARM_LOG_HEAD_BYTES": "300000", "BUILDFARM_LOG_TAIL_BYTES": "900000"}  # a part of that
    with build_node(farm, BUILDFARM_ARCHIVE_SECONDS="5", **window) as node:
        build = builds(write_files(tmp_path, {"package.json": json.dumps({"scripts": {"build": script}})}))
        assert build.state is State.SUCCEEDED, builds.log(build)
        catalog = farm.history.catalog
        wait_for(lambda: catalog.where(build.id), 90, lambda: node.log.read_text()[-3000:])
        assert not list(farm.database.client.scan_iter(farm.database.key("build", build.id, "log*")))
        numbers = re.findall(r"^ *this is line (\d+) of very many$", builds.log(build), re.MULTILINE)
        assert numbers == [str(number) for number in range(1, 60_001)]
        assert farm.get(build.id) == build
        assert "upkeep_bug" not in node.log.read_text()

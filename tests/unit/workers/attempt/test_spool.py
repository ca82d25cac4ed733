"""The whole log of an attempt on the node, whatever of it Redis was sent."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import StoreError
from buildfarm.model import Phase
from buildfarm.store.archive.log_text import GROUP_LINES, decode_log, encode_grouped
from buildfarm.store.logs import position_of
from workers.attempt.log import BuildLog
from workers.attempt.spool import LARGE_BYTES, Spool, read_groups


class Redis:
    """Gives consecutive positions to a batch, sometimes only after it could not be reached."""

    def __init__(self, away=()) -> None:
        self.away = set(away)
        self.calls = itertools.count()
        self.lines: dict[str, str] = {}

    def __call__(self, phase, lines, batch):
        number = next(self.calls)
        if number in self.away:
            raise StoreError("Redis is away.")
        self.lines |= {f"{1000 + number}-{index}": text for index, text in enumerate(lines)}
        return f"{1000 + number}-0"


def lines_of(spool, attempt=1):
    """What the archive will have of a spool."""
    groups = list(read_groups(spool.path, attempt, spool.positions))
    assert all(0 < len(group.texts) <= GROUP_LINES for group in groups)
    return list(decode_log(encode_grouped(groups)))


def spool_in(tmp_path, expect=lambda: None):
    return Spool(tmp_path / "b-1.log", expect)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from(Phase)), min_size=1, max_size=12),
    st.sets(st.integers(0, 8)),
    st.integers(2, 20),
)
def test_every_line_is_there_with_the_position_that_redis_gave_it(tmp_path_factory, steps, away, waiting):
    spool, redis = spool_in(tmp_path_factory.mktemp("spool")), Redis(away)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.attempt.log._WAITING_LINES_MAX", waiting)  # what is over it is dropped from Redis
        log = BuildLog(redis, spool=spool)
        numbers = itertools.count()
        written = []
        for count, phase in steps:
            log.enter(phase)
            texts = [f"line {next(numbers)}" for _ in range(count)]
            written += [(phase, text) for text in texts]
            log.write("".join(f"{text}\n" for text in texts).encode())
            log.flush()
        while not log.flush(now=True):
            pass
    spool.expect, spool.text_bytes = lambda: None, LARGE_BYTES + 1
    spool.announce()
    if not written:
        return
    assert spool.close()
    found = lines_of(spool)
    assert [(line.phase, line.text) for line in found] == written
    by_text = {text: position for position, text in redis.lines.items()}
    for line in found:
        assert by_text.get(line.text, line.position) == line.position
    order = [position_of(line.position) for line in found]
    assert order == sorted(order)
    assert len(set(order)) == len(order)


def test_a_small_log_is_not_announced_and_leaves_no_file(tmp_path):
    spool = spool_in(tmp_path, expect=pytest.fail)
    log = BuildLog(Redis(), spool=spool)
    log.write(b"little\n")
    assert log.flush(now=True)
    assert not spool.close()
    assert list(tmp_path.iterdir()) == []


def test_a_large_log_is_announced_once_before_the_end(tmp_path):
    told = []
    spool = spool_in(tmp_path, expect=lambda: told.append(1))
    log = BuildLog(Redis(), spool=spool)
    log.write(b"x" * 80 + b"\n" * 1)
    for _ in range(1000):
        log.write(b"x" * 80 + b"\n")
    assert told == []
    log.flush(now=True)
    log.flush(now=True)
    assert told == [1]
    assert spool.close()
    assert len(lines_of(spool)) == 1001


def test_a_disk_that_is_full_costs_the_file_and_not_the_build(tmp_path):
    failed = []
    spool = Spool(tmp_path / "missing" / "b-1.log", expect=pytest.fail, failed=failed.append)
    redis = Redis()
    log = BuildLog(redis, spool=spool)
    log.write(b"x" * 100 + b"\n")
    assert log.flush(now=True)
    assert len(failed) == 1
    assert not spool.close()
    assert len(redis.lines) == 1


def test_a_large_log_is_packed_without_an_object_for_each_line(tmp_path, monkeypatch):
    """It is packed beside builds, in the same process: such objects took two thirds of that time."""
    spool = spool_in(tmp_path)
    for first in range(0, 3000, 1000):
        for number in range(first, first + 1000):
            spool.add(Phase.COMPILE, f"line {number} is long enough to make this log a large one")
        spool.sent(first, 1000, f"{first}-0")
    spool.announce()
    assert spool.close()
    with monkeypatch.context() as patch:
        patch.setattr("buildfarm.store.archive.log_text.LogLine", pytest.fail)
        groups = list(read_groups(spool.path, 1, spool.positions))
        content = encode_grouped(groups)
    assert [(group.position, len(group.texts)) for group in groups] == [
        (f"{first}-{at}", 500) for first in range(0, 3000, 1000) for at in (0, 500)
    ]
    assert [line.position for line in decode_log(content)][998:1002] == ["0-998", "0-999", "1000-0", "1000-1"]


def test_lines_whose_positions_were_reported_twice_are_there_once(tmp_path):
    spool = spool_in(tmp_path)
    for number in range(6):
        spool.add(Phase.COMPILE, f"{number}" + "x" * 15_000)
    spool.sent(0, 4, "5-0")
    spool.sent(2, 3, "5-2")
    spool.announce()
    assert spool.close()
    assert [(line.position, line.text[0]) for line in lines_of(spool)] == [(f"5-{n}", f"{n}") for n in range(6)]


@pytest.mark.parametrize("line", ['["nope","a"]', '["compile",5]', '"ab"', "7", '["compile"]', "{}", '["compile","a"'])
def test_a_spool_with_a_damaged_line_is_not_archived(tmp_path, line):
    (tmp_path / "b-1.log").write_text(f'["compile","before"]\n{line}\n')
    with pytest.raises(ValueError, match=r"line of the spool|not a valid Phase|Expecting"):
        list(read_groups(tmp_path / "b-1.log", 1, []))

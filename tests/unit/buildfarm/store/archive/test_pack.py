"""Packs of archived builds: what goes in comes out, whatever it is, and damage is seen."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.events import LogLine
from buildfarm.model import Phase
from buildfarm.store.archive.log_text import decode_log, decode_tail, encode_log
from buildfarm.store.archive.member import compress
from buildfarm.store.archive.pack import Index, Pack, join, make

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ids = st.text("0123456789abcdef", min_size=1, max_size=4)
times = st.integers(1_000_000_000_000_000, 1_000_000_020_000_000).map(lambda micros: f"{micros / 1e6:.6f}")


@st.composite
def logs(draw) -> list[LogLine]:
    steps = draw(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(Phase), text), max_size=30))
    milliseconds, number, lines = 1000, 0, []
    for jump, phase, line in steps:
        milliseconds, number = (milliseconds + 1, 0) if jump else (milliseconds, number + 1)
        lines.append(LogLine(position=f"{milliseconds}-{number}", attempt=1 + jump, phase=phase, text=line))
    return lines


records = st.builds(
    lambda build_id, at, more: {**more, "id": build_id, "submitted_at": at},
    ids,
    times,
    st.dictionaries(text, text, max_size=3),
)
packs = st.lists(st.tuples(records, logs()), max_size=6).map(
    lambda found: make([(record, encode_log(lines)) for record, lines in found])
)


def log_in(pack: Pack, build_id: str) -> bytes:
    return next(pack.data[row.offset : row.offset + row.size] for row in pack.rows if row.id == build_id)


@settings(deadline=None, max_examples=50)  # what is drawn is large, and the machine may be busy
@given(logs())
def test_a_log_comes_back_as_it_was(lines):
    content = encode_log(lines)
    assert list(decode_log(content) if content else ()) == lines


@settings(deadline=None, max_examples=50)
@given(logs(), st.integers(1, 40))
def test_the_last_lines_of_a_log_are_those_of_the_whole(lines, limit):
    content = encode_log(lines)
    assert (decode_tail(content, limit) if content else []) == lines[-limit:]


def test_the_last_lines_of_a_damaged_log_are_not_guessed():
    lines = [LogLine(position=f"5-{i}", attempt=1, phase=Phase.COMPILE, text=f"line {i}") for i in range(2000)]
    with pytest.raises(ValueError, match="cut off"):
        decode_tail(encode_log(lines)[:-1], 2)


def test_lines_that_follow_one_another_share_what_they_have_in_common():
    lines = [LogLine(position=f"5-{i}", attempt=1, phase=Phase.COMPILE, text="x" * 80) for i in range(20_000)]
    content = encode_log(lines)
    assert list(decode_log(content)) == lines
    assert len(content) < 20_000


@settings(deadline=None, max_examples=50)  # what is drawn is large, and the machine may be busy
@given(logs().filter(bool), st.data())
def test_a_damaged_log_is_seen(lines, data):
    content = bytearray(encode_log(lines))
    at = data.draw(st.integers(10, len(content) - 1))  # the first ten bytes are gzip's header
    content[at] ^= data.draw(st.integers(1, 255))
    try:
        found = list(decode_log(bytes(content)))
    except ValueError:
        found = lines
    assert found == lines  # some bits of a gzip member mean nothing
    with pytest.raises(ValueError, match=r"cut off|damaged"):
        list(decode_log(encode_log(lines)[:-1]))


@settings(deadline=None, max_examples=50)  # what is drawn is large, and the machine may be busy
@given(packs)
def test_an_index_comes_back_as_it_was(pack):
    index = Index.of(pack)
    assert Index.decode(index.encode()) == index
    assert Index.of(pack).encode() == index.encode()


@settings(deadline=None, max_examples=50)  # what is drawn is large, and the machine may be busy
@given(st.lists(packs, max_size=4))
def test_joined_packs_have_every_build_once_in_order_with_its_newest_log(found):
    whole = join(found)
    newest = {row.id: (row.record, log_in(pack, row.id)) for pack in found for row in pack.rows}
    assert {row.id: (row.record, log_in(whole, row.id)) for row in whole.rows} == newest
    assert list(whole.rows) == sorted(whole.rows, key=lambda row: row.position)
    assert len(whole.rows) == len(newest)
    assert len(whole.data) == sum(row.size for row in whole.rows)
    assert join([whole]) == whole


def head(builds: list[list[object]]) -> bytes:
    return json.dumps({"version": 2, "data": {"digest": "sha256:" + "0" * 64, "size": 3}, "builds": builds}).encode()


def test_a_record_is_decoded_only_when_it_is_asked_for():
    builds = [[f"b{number}", float(number), "failed", 0, 0] for number in range(256)]
    unreadable = [b"not read"] * 256
    unreadable[7] = b'{"id":"b7","state":"failed"}'
    index = Index.decode(compress(b"\n".join([head(builds), *unreadable])))
    assert [row.position for row in index.rows] == [(float(number), f"b{number}") for number in range(256)]
    assert index.rows[7].record == {"id": "b7", "state": "failed"}
    with pytest.raises(ValueError, match="Expecting value"):
        _ = index.rows[8].record


@settings(deadline=None, max_examples=50)  # what is drawn is large, and the machine may be busy
@given(packs)
def test_an_index_of_version_1_is_read(pack):
    index = Index.of(pack)
    builds = [{"offset": row.offset, "size": row.size, "record": row.record} for row in pack.rows]
    data = {"digest": index.data, "size": index.data_bytes}
    assert Index.decode(compress(json.dumps({"version": 1, "data": data, "builds": builds}).encode())) == index


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        compress(b"no JSON"),
        compress(b"[]"),
        compress(b"{}"),
        compress(json.dumps({"version": 3, "data": {}, "builds": []}).encode()),
        compress(json.dumps({"version": 1, "data": {"digest": "sha256:1", "size": 0}, "builds": []}).encode()),
        compress(
            json.dumps(
                {
                    "version": 1,
                    "data": {"digest": "sha256:" + "0" * 64, "size": 3},
                    "builds": [{"offset": 2, "size": 2, "record": {"id": "a", "submitted_at": "1"}}],
                }
            ).encode()
        ),
        compress(head([["a", 1.0, "failed", 2, 2]]) + b"\n{}"),
        compress(head([["a", float("inf"), "failed", 0, 1]]) + b"\n{}"),
        compress(head([["a", 1.0, "failed", 0]]) + b"\n{}"),
        compress(head([["a", 1.0, "failed", 0, 1]])),
        compress(head([]) + b"\n{}"),
    ],
    ids=[
        "nothing",
        "no gzip",
        "no JSON",
        "a list",
        "empty",
        "a later version",
        "no digest",
        "a log beyond the end, v1",
        "a log beyond the end",
        "no time",
        "a field too few",
        "a record too few",
        "a record too many",
    ],
)
def test_what_is_no_index_is_refused(content):
    with pytest.raises(ValueError):
        Index.decode(content)

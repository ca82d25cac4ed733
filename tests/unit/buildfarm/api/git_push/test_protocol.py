"""pkt-lines, commands and answers of a push: whatever is written is read again, and nothing else is taken."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.api.routes.git_push.answer import Answer
from buildfarm.api.routes.git_push.commands import NO_OBJECT, REFS_MAX, Update, parse
from buildfarm.api.routes.git_push.pkt_line import (
    DATA,
    FLUSH,
    LINE_BYTES_MAX,
    PROGRESS,
    NotPktLineError,
    band,
    pkt_line,
    split,
    until_flush,
)
from buildfarm.errors import RequestError

ONE = "1" * 40
BOTH = ("report-status", "side-band-64k")


async def pieces_of(text, sizes):
    at = 0
    for size in sizes:
        yield text[at : at + size]
        at += size
    yield text[at:]


def lines_of(answer):
    """All pkt-lines of an answer; None for a flush."""
    found, at = [], 0
    while at < len(answer):
        one = split(answer, at)
        assert one is not None, answer
        content, at = one
        found.append(content)
    return found


@given(
    st.lists(st.binary(max_size=300), max_size=20), st.lists(st.integers(0, 50), max_size=30), st.binary(max_size=50)
)
def test_lines_are_read_as_they_were_written_however_the_body_is_cut(lines, sizes, rest):
    text = b"".join(map(pkt_line, lines)) + FLUSH + rest

    async def read():
        body = pieces_of(text, sizes)
        found, first = await until_flush(body, 100_000, 100)
        return found, first + b"".join([piece async for piece in body])

    assert asyncio.run(read()) == (lines, rest)


@given(st.binary(max_size=200))
def test_any_bytes_are_lines_or_refused(text):
    async def read():
        return await until_flush(pieces_of(text, []), 1000, 1000)

    try:
        lines, rest = asyncio.run(read())
    except NotPktLineError:
        return
    assert len(text) == sum(len(line) + 4 for line in lines) + 4 + len(rest)


@given(st.sampled_from([DATA, PROGRESS]), st.integers(0, 200_000))
def test_a_band_carries_any_length(number, length):
    lines = lines_of(band(number, b"x" * length))
    assert all(line[0] == number and len(line) + 4 <= LINE_BYTES_MAX for line in lines)
    assert b"".join(line[1:] for line in lines) == b"x" * length


@pytest.mark.parametrize("text", [b"0003", b"fff1" + b"x" * 70_000, b"+12a", b" 12a", b"000g"])
def test_a_wrong_length_is_refused(text):
    with pytest.raises(NotPktLineError):
        split(text)


def test_a_list_without_an_end_is_refused_at_its_limit():
    async def endless():
        while True:
            yield pkt_line(b"x" * 1000)

    with pytest.raises(NotPktLineError, match="more than"):
        asyncio.run(until_flush(endless(), 10_000, 1000))
    with pytest.raises(NotPktLineError, match="9 lines"):
        asyncio.run(until_flush(endless(), 100_000, 9))
    with pytest.raises(NotPktLineError, match="ended"):
        asyncio.run(until_flush(pieces_of(pkt_line(b"x"), []), 10_000, 9))


def test_commands_name_refs_capabilities_and_where_history_ends():
    lines = [
        f"shallow {ONE}\n".encode(),
        f"{NO_OBJECT} {ONE} refs/heads/main\0 report-status side-band-64k agent=git/2".encode(),
        f"{ONE} {NO_OBJECT} refs/tags/v1".encode(),
    ]
    asked = parse(lines)
    assert asked.updates == (Update("refs/heads/main", ONE), Update("refs/tags/v1", NO_OBJECT))
    assert asked.shallow == (ONE,)
    assert asked.capabilities >= {"report-status", "side-band-64k"}
    assert asked.has_pack
    assert not parse([lines[2]]).has_pack
    assert not parse([]).updates


@pytest.mark.parametrize(
    "line",
    [
        b"push-cert\0", f"{ONE} {ONE} main".encode(), f"{ONE} {ONE[:-1]} refs/heads/main".encode(),
        f"{ONE} {ONE} refs/heads/a b".encode(), f"{ONE} {ONE} refs/heads/a\nng refs/heads/b".encode(),
    ],
)  # fmt: skip
def test_another_command_is_refused(line):
    with pytest.raises(RequestError):
        parse([line])


def test_no_push_names_more_refs_than_the_limit():
    lines = [f"{ONE} {ONE} refs/heads/a{number}".encode() for number in range(REFS_MAX + 1)]
    shallow = [f"shallow {ONE}".encode()] * 2000
    assert len(parse(shallow + lines[:-1]).updates) == REFS_MAX
    with pytest.raises(RequestError, match="1,000 refs"):
        parse(lines)


@pytest.mark.parametrize(("name", "words"), [(b"a", "twice"), (b"\xff", "not UTF-8")])
def test_a_ref_that_the_report_could_not_name_is_refused(name, words):
    line = f"{ONE} {ONE} refs/heads/".encode()
    with pytest.raises(RequestError, match=words):
        parse([line + b"a", line + name])


def test_a_report_is_one_line_for_each_ref_within_the_band():
    answer = Answer(BOTH).report({"refs/heads/main": "it failed:\nng refs/heads/other\x1b[2J", "refs/tags/v1": ""})
    data, end = lines_of(answer)
    assert end is None
    assert data[0] == DATA
    assert lines_of(data[1:]) == [
        b"unpack ok\n", b"ng refs/heads/main it failed: ng refs/heads/other [2J\n", b"ok refs/tags/v1\n", None,
    ]  # fmt: skip


def test_a_client_without_bands_gets_the_report_alone():
    answer = Answer(["report-status"])
    assert answer.say("hello") == answer.keep_alive() == b""
    assert lines_of(answer.report({"refs/heads/main": ""})) == [b"unpack ok\n", b"ok refs/heads/main\n", None]
    assert Answer([]).report({"refs/heads/main": ""}) == FLUSH


def test_lines_keep_their_colours_and_lose_what_acts_on_a_terminal():
    said = Answer(BOTH).say("\x1b[31mred\x1b[0m\ttab\x1b]0;title\x07\x1b[2J\r\nsecond \udcff")
    assert lines_of(said) == [b"\x02\x1b[31mred\x1b[0m\ttab]0;title[2J\nsecond ?\n"]


def test_a_sign_of_life_shows_nothing():
    assert lines_of(Answer(BOTH).keep_alive()) == [b"\x01"]

"""A build's log: from bytes to lines, in order, and nothing that steers a terminal."""

from __future__ import annotations

import itertools
import sys
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import StoreError
from buildfarm.model import Phase
from workers.attempt.log import LINE_CHARS_MAX, TAIL_LINES, BuildLog


class Kept:
    """Where a log goes, in a list."""

    def __init__(self):
        self.lines = []
        self.batches = []
        self.away = False

    def __call__(self, phase, lines, batch):
        self.batches.append(batch)
        if self.away:
            raise StoreError("Redis does not answer.")
        self.lines += [(phase, line) for line in lines]


OUTPUT = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"\b", b"\t", b"\x1b[K", b"\x1b[2A", b"\x1b[31m", b"text", "ü中".encode()])
    | st.binary(max_size=8)
)


@given(OUTPUT, st.data())
def test_pieces_of_any_length_give_the_same_lines(parts, data):
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert lines_of(*pieces) == lines_of(whole)


def lines_of(*pieces, secrets=()):
    kept = Kept()
    log = BuildLog(kept)
    log.hide(secrets)
    for piece in pieces:
        log.write(piece)
    log.flush(now=True)
    return [line for _, line in kept.lines]


def test_a_line_belongs_to_the_phase_it_began_in():
    kept = Kept()
    log = BuildLog(kept)
    log.write(b"one\nhalf")
    log.enter(Phase.COMPILE)
    log.write(b"two\n")
    log.flush(now=True)
    assert kept.lines == [(Phase.PREPARE, "one"), (Phase.PREPARE, "half"), (Phase.COMPILE, "two")]


def test_a_batch_that_is_sent_again_keeps_its_number():
    kept = Kept()
    log = BuildLog(kept)
    kept.away = True
    log.write(b"a\n")
    log.flush()
    kept.away = False
    log.write(b"b\n")
    log.flush()
    assert kept.batches == [1, 1, 2]


def test_lines_wait_while_redis_is_away_and_keep_their_order():
    kept = Kept()
    log = BuildLog(kept)
    kept.away = True
    log.write(b"a\nb\n")
    log.flush(now=True)
    assert kept.lines == []
    kept.away = False
    log.write(b"c\n")
    log.flush(now=True)
    assert [line for _, line in kept.lines] == ["a", "b", "c"]


def test_the_tail_is_the_newest_lines_that_say_something():
    log = BuildLog(Kept())
    log.write(b"".join(f"line {n}\n\n".encode() for n in range(100)))
    assert log.tail[-1] == "line 99"
    assert len(log.tail) == TAIL_LINES


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", "plain"),
        (b"\x1b[31mred\x1b[0m", "red"),
        (b" 10%\r 50%\r100%", "100%"),
        (b"windows\r", "windows"),
        (b"\x1b]0;title\x07text", "text"),
        (b"bell\x07 null\x00", "bell null"),
        (b"tab\tstays", "tab\tstays"),
        ("grüße".encode(), "grüße"),
        (b"\xff", "\ufffd"),
        ("a\u202egnp.exe".encode(), "a<U+202E>gnp.exe"),
    ],
)
def test_what_a_reader_sees(raw, shown):
    assert lines_of(raw) == [shown]


SECRET = "hunter2-long-secret"


@pytest.mark.kind("log")
@pytest.mark.parametrize(
    "printed",
    [
        b"a hunter2-long-secret b",
        b"a hunt\x1b[31mer2-lo\x1b[1mng-sec\x1b(Bret\x1b[0m b",
        b"a hunter2-\rlong-secret b",
        b"hunter2-X\blong-secret",
        b"xunter2-long-secret\rh",
        b"hunter2-\x1b[2K\rlong-secret",
        b"hunter2-\n\x1b[Along-secret",
        b"hunter2\x1b]0;title\x07-long-secret",
        b"hunter2-\x00long\x07-secret",
        b"x" * 3990 + b"hunter2-long-secret",
        b"y" * 995 + b"hunter2-long-secret\rz",
    ],
    ids=[
        "plain", "colours", "a carriage return", "a backspace", "made by overwriting", "an erased line", "two rows",
        "a title", "controls", "at the cut", "at the width of a terminal",
    ],
)  # fmt: skip
def test_no_part_of_a_secret_is_left_however_it_is_drawn(printed, record_property):
    for pieces in ([printed + b"\n"], [printed[at : at + 1] for at in range(len(printed))]):
        lines = lines_of(*pieces, secrets=[SECRET])
        record_property("seen", lines[0][-40:])
        assert "[hidd" in "".join(lines)
        assert not any(part in line for line in lines for part in ("hunt", "long", "secret"))


@pytest.mark.kind("log")
def test_the_state_of_a_line_shows_no_beginning_of_a_secret(record_property):
    log = BuildLog(Kept())
    log.hide([SECRET])
    log.write(b"key: hunter2-lo")
    record_property("seen", log.state)
    assert log.state == "key: "
    log.write(b"ng-secret")
    assert log.state == "key: [hidden]"
    log.write(b"\r\x1b[KDownloading 7/9\r")
    assert log.state == "Downloading 7/9"


@pytest.mark.kind("log")
def test_the_state_of_a_row_that_is_drawn_over_shows_no_beginning_of_a_secret(record_property):
    log = BuildLog(Kept())
    log.hide([SECRET])
    log.write(b"Downloading 1000000000/9999999999\rkey: hunter2-lo")
    record_property("seen", log.state)
    assert "hunt" not in log.state
    log.write(b"ng-secret\x1b[K")
    assert log.state == "key: [hidden]"


def test_a_secret_is_hidden_though_another_one_is_longer_than_what_a_row_remembers():
    longer = "".join(chr(0x4E00 + number) for number in range(20_000))
    pieces = [b"\r" + (b"k" * 999 + b"\r") * 16, b"x" * 396 + b"\r", b"hunter2-lon", b"g-secret\n"]
    (line,) = lines_of(*pieces, secrets=[longer, SECRET])
    assert line.startswith("[hidden]x")


def test_a_secret_that_repeats_itself_takes_little_work_to_hide():
    log = BuildLog(Kept())
    log.hide("a" * count for count in range(8, 28))
    started = time.thread_time()
    log.write(b"\r" + (b"a" * 999 + b"\r") * 30)
    assert log.state == "[hidden]"
    assert time.thread_time() - started < 2


@pytest.mark.parametrize("end", [b"\n", b"\x1b[K\n", b"\r\n"])
def test_a_long_line_behind_a_progress_bar_says_that_it_is_cut(end):
    (line,) = lines_of(b" 50%\r" + b"x" * 2000 + end)
    assert line == "x" * 1000 + " [cut]"


@pytest.mark.kind("log")
def test_rows_that_are_drawn_over_wait_for_their_last_state(record_property):
    kept = Kept()
    log = BuildLog(kept)
    for step in range(3):
        log.write((b"\x1b[2A" if step else b"") + f"\x1b[2Kone {step}\n\x1b[2Ktwo {step}\n".encode())
        if step:
            log.flush()
    log.flush(now=True)
    record_property("seen", [line for _, line in kept.lines])
    assert [line for _, line in kept.lines] == ["one 2", "two 2"]


def test_output_that_takes_much_work_is_read_slowly_however_short_it_is(monkeypatch):
    slept, work = [], itertools.count()
    monkeypatch.setattr("workers.attempt.log.time.sleep", slept.append)
    monkeypatch.setattr("workers.attempt.log.time.thread_time", lambda: next(work))
    log = BuildLog(Kept())
    log.write(b"\rx")
    assert slept == [0.25]


def test_a_long_piece_that_takes_much_work_is_paused_within(monkeypatch):
    done, work = [], itertools.count()
    monkeypatch.setattr("workers.attempt.log.time.sleep", lambda seconds: done.append(("wait", seconds)))
    monkeypatch.setattr("workers.attempt.log.time.thread_time", lambda: next(work) / 64)
    monkeypatch.setattr("workers.attempt.pace.time", SimpleNamespace(monotonic=lambda: 0.0))
    log = BuildLog(Kept())
    feed = log._terminal.feed
    monkeypatch.setattr(log._terminal, "feed", lambda part: done.append(("take", len(part))) or feed(part))
    log.write(b"\rx" * 64_000)
    assert max(size for what, size in done if what == "take") <= 4096
    # A sixty-fourth of a second of work for each: eight times as long is waited, once two seconds are used up.
    assert [seconds for what, seconds in done if what == "wait"][-10:] == [0.125] * 10
    assert [what for what, _ in done[-4:]] == ["take", "wait", "take", "wait"]


def test_rows_that_a_few_bytes_fill_count_as_long_as_they_are(monkeypatch):
    slept = []
    monkeypatch.setattr("workers.attempt.log.time.sleep", slept.append)
    monkeypatch.setattr("workers.attempt.log.time.thread_time", lambda: 0.0)
    monkeypatch.setattr("workers.attempt.pace.time", SimpleNamespace(monotonic=lambda: 0.0))
    log = BuildLog(Kept())
    for _ in range(16):
        log.write(b"\x1b[1000Gx\n" * 300)
        log.flush()
    assert sum(slept) > 0.5


@pytest.mark.kind("log")
def test_the_unfinished_line_is_shown_when_it_has_changed_and_not_too_often(monkeypatch, record_property):
    now, seen = [100.0], []
    monkeypatch.setattr("workers.attempt.log.time.monotonic", lambda: now[0])
    log = BuildLog(Kept(), show=seen.append)
    for percent in range(40):
        log.write(b"\rDownloading %d/40" % percent)
        log.flush()
        now[0] += 0.2
    log.write(b"\n")
    log.flush(now=True)
    record_property("seen", seen)
    assert 5 <= len(seen) <= 9
    assert (seen[0], seen[-1]) == ("Downloading 0/40", "")


def test_an_endless_line_is_cut():
    log_lines = Kept()
    log = BuildLog(log_lines)
    for _ in range(10):
        log.write(b"x" * LINE_CHARS_MAX)
    log.flush(now=True)
    assert all(len(line) <= LINE_CHARS_MAX + len(" [cut]") for _, line in log_lines.lines)


def test_a_flood_that_cannot_be_sent_is_bounded_and_the_log_says_so(monkeypatch):
    monkeypatch.setattr("workers.attempt.log._WAITING_LINES_MAX", 5)
    kept = Kept()
    log = BuildLog(kept)
    log.write(b"".join(f"{n}\n".encode() for n in range(8)))
    log.flush(now=True)
    told, *lines = [line for _, line in kept.lines]
    assert told.startswith("[3 lines are missing here")
    assert lines == ["3", "4", "5", "6", "7"]


def test_long_lines_that_cannot_be_sent_are_bounded_by_their_memory(monkeypatch):
    monkeypatch.setattr("workers.attempt.log.time.sleep", lambda seconds: None)
    monkeypatch.setattr("workers.attempt.log._SLOW_SECONDS", 0)
    kept = Kept()
    kept.away = True
    log = BuildLog(kept)
    for _ in range(3000):
        log.write(("\U0001f600" * LINE_CHARS_MAX + "\n").encode())
        log.flush()
    kept.away = False
    log.flush(now=True)
    lines = [line for _, line in kept.lines]
    assert sum(map(sys.getsizeof, lines)) < 5 * 1024 * 1024
    told = next(line for line in lines if "lines are missing here" in line)
    assert int(told[1:].split(" ")[0]) == 3000 - (len(lines) - 1)


def test_the_rest_of_an_endless_line_is_left_out_and_the_next_line_is_whole():
    kept = Kept()
    log = BuildLog(kept)
    for _ in range(10):
        log.write(b"x" * LINE_CHARS_MAX)
    log.write(b"xx\nnext\n\n")
    log.flush(now=True)
    assert [line for _, line in kept.lines] == ["x" * LINE_CHARS_MAX + " [cut]", "next", ""]


def test_a_log_over_its_limit_says_so_once_and_keeps_its_end(monkeypatch):
    monkeypatch.setattr("workers.attempt.log.time.sleep", lambda seconds: None)
    kept = Kept()
    log = BuildLog(kept, limit_bytes=1000)
    for number in range(100_000):
        log.write(f"line {number}\n".encode())
    log.flush(now=True)
    lines = [line for _, line in kept.lines]
    assert len(lines) < 100
    assert lines[-1].startswith("The log is over its limit of 1000 bytes")
    assert log.tail[-1] == "line 99999"


def test_the_end_of_a_log_over_its_limit_shows_no_part_of_a_secret():
    log = BuildLog(Kept(), limit_bytes=100)
    log.hide([SECRET])
    log.write(b"x" * 200 + b"\nunfinished")
    log.flush()
    assert log.state == ""
    log.write(b"first\n" + SECRET.encode() + b"\rX\n" + b"y" * 3990 + SECRET.encode() + b"\nlast\n")
    assert log.tail[-1] == "last"
    assert not any("hunt" in line or "unter" in line or "secret" in line for line in log.tail)


@given(st.integers(1, 40), st.integers(0, 9000))
def test_a_secret_is_hidden_wherever_it_stands_and_however_it_comes(size, before):
    kept = Kept()
    log = BuildLog(kept)
    log.hide(["correct horse/battery"])
    content = b"." * before + b"correct horse/battery Y29ycmVjdCBob3JzZS9iYXR0ZXJ5 correct%20horse%2Fbattery end"
    for start in range(0, len(content), size * 50):
        log.write(content[start : start + size * 50])
    log.flush(now=True)
    text = "".join(line for _, line in kept.lines)
    assert not any(word in text for word in ("correct", "battery", "Y29ycmVj"))
    assert log.hidden("is correct horse/battery") == "is [hidden]"


def test_lines_of_a_secret_are_hidden_one_by_one():
    kept = Kept()
    log = BuildLog(kept)
    log.hide(["-----BEGIN KEY-----\nMIIEvQIBADAN\nab\n-----END KEY-----"])
    log.write(b"key: MIIEvQIBADAN, ab\n")
    log.flush(now=True)
    assert [line for _, line in kept.lines] == ["key: [hidden], ab"]


def test_what_could_not_be_sent_is_not_sent_twice():
    kept = Kept()
    log = BuildLog(kept)
    log.write(b"a\n")
    kept.away = True
    assert not log.flush()
    kept.away = False
    assert log.flush()
    assert log.flush()
    assert [line for _, line in kept.lines] == ["a"]


def test_who_ends_a_build_does_not_wait_for_its_flood():
    kept = Kept()
    log = BuildLog(kept)
    log.write(b"".join(f"{n}\n".encode() for n in range(1000)))
    log.skip()
    log.flush(now=True)
    told, *lines = [line for _, line in kept.lines]
    assert told.startswith(f"[{1000 - TAIL_LINES} lines are missing here")
    assert lines == [str(n) for n in range(1000 - TAIL_LINES, 1000)]


@pytest.mark.parametrize(("piece", "free", "slowed"), [(b"x" * 64_000, 50, 100), (b"a short line\n" * 100, 100, 200)])
def test_a_flood_is_read_at_a_pace_and_a_talkative_build_is_not(monkeypatch, piece, free, slowed):
    slept = [0.0]
    monkeypatch.setattr("workers.attempt.log.time.sleep", lambda seconds: slept.append(slept.pop() + seconds))
    monkeypatch.setattr("workers.attempt.pace.time", SimpleNamespace(monotonic=lambda: 0.0))
    log = BuildLog(Kept(), limit_bytes=1000)
    for _ in range(free):
        log.write(piece)
    assert slept == [0.0]
    for _ in range(slowed):
        log.write(piece)
        slept.append(0.0)
    assert sum(seconds > 0 for seconds in slept) > 50
    assert 0.2 < max(slept) < 0.251

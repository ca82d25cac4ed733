"""What a terminal would show: the last state of what is drawn over, nothing of what steers, whatever the pieces."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workers.attempt import row as row_module
from workers.attempt.mask import Mask
from workers.attempt.row import COLUMNS
from workers.attempt.terminal import ROWS, Terminal

WIDTH = 4000


def shown(*pieces, secrets=(), width=WIDTH):
    terminal = Terminal(width)
    terminal.hide(Mask(secrets))
    rows = [row for piece in pieces for row in terminal.feed(piece)]
    return rows + terminal.end()


BAR = b"".join(b"\rDownloading %d/1000" % count for count in range(1, 1001)) + b"\n"

CASES = {
    "a progress bar": (BAR, ["Downloading 1000/1000"]),
    "a progress bar that gets shorter": (b"\rleft 100\x1b[K\rleft 99\x1b[K\r\n", ["left 99"]),
    "a bar with backspaces": (b"  1%\b\b\b\b 10%\b\b\b\b100%\n", ["100%"]),
    "a spinner": (b"-\b\\\b|\b/\bdone\n", ["done"]),
    "a character set": (b"\x1b[1mDone\x1b(B\x1b[m\n", ["Done"]),
    "line drawing": (b"\x1b(0\x0fok\x0e\x1b)B\x1b%G\n", ["ok"]),
    "a link": (b"\x1b]8;;https://example.org/a?b;c\x1b\\the text\x1b]8;;\x1b\\ here\n", ["the text here"]),
    "a link that a bell ends": (b"\x1b]8;id=1;https://example.org\x07text\x1b]8;;\x07\n", ["text"]),
    "a title": (b"\x1b]0;make all\x07cc a.c\n", ["cc a.c"]),
    "a title that nothing ends": (b"\x1b]0;make all\ncc a.c\n", ["", "cc a.c"]),
    "a title in eight bits": ("\x9d0;title\x9ctext\n".encode(), ["text"]),
    "a picture": (b"\x1bPq#0;2;0;0;0~~\x1b\\after\n", ["after"]),
    "modes and a bracketed paste": (b"\x1b[?25l\x1b[?2004hwork\x1b[?25h\x1b[0 q\x1b=\n", ["work"]),
    "colours of every form": (b"\x1b[38;5;9mr\x1b[48:2::1:2:3me\x1b[;md\n", ["red"]),
    "rows drawn over": (b"a 1\nb 1\n\x1b[2A\x1b[2Ka 2\n\x1b[2Kb 2\nc\n", ["a 2", "b 2", "c"]),
    "up, right and an erased end": (b"abcdef\n\x1b[1A\x1b[3C\x1b[K\n", ["abc"]),
    "a saved cursor": (b"\x1b7now\x1b8new\n", ["new"]),
    "an absolute column": (b"abcdef\x1b[3GX\n", ["abXdef"]),
    "inserted and deleted": (b"abcd\r\x1b[2P\x1b[1@e\n", ["ecd"]),
    "a cleared screen keeps what was": (b"one\n\x1b[H\x1b[2Jtwo\n\x1b[3J\x1b[Hthree\n", ["one", "two", "three"]),
    "lines of Windows": (b"one\r\ntwo\r\n", ["one", "two"]),
    "a wide character half overwritten": ("中文\rx\n".encode(), ["x 文"]),
    "an accent of its own": ("e\u0301a\rE\n".encode(), ["Ea"]),
    "a tab": (b"a\tb\n", ["a\tb"]),
    "a tab that is overwritten": (b"a\tb\r12\n", ["12      b"]),
    "no line end": (b"half", ["half"]),
    "empty lines": (b"\n\n", ["", ""]),
    "a character that is cut off": (b"ab\xe4\xb8", ["ab\ufffd"]),
    "sequences that are cut off": (b"ab\x1b[3", ["ab"]),
}


@pytest.mark.kind("log")
@pytest.mark.parametrize("case", CASES)
def test_a_reader_sees(case, record_property):
    printed, rows = CASES[case]
    record_property("seen", shown(printed))
    assert shown(printed) == rows
    assert shown(*(printed[at : at + 1] for at in range(len(printed)))) == rows


SEQUENCES = st.sampled_from([
    b"\x1b[", b"\x1b]", b"\x1b\\", b"\x1b(", b"\x1b", b"\x07", b"\r", b"\n", b"\r\n", b"\b", b"\t", b"\x1b[A",
    b"\x1b[2B", b"\x1b[3C", b"\x1b[2D", b"\x1b[K", b"\x1b[1K", b"\x1b[2K", b"\x1b[J", b"\x1b[2J", b"\x1b[H", b"\x1b[2P",
    b"\x1b[2X", b"\x1b[2@", b"\x1b7", b"\x1b8", b"\x1bM", b"\x1b[31m", b"\x1b]0;t", b"\x1bP", b"\xc2\x9b", b"\xc2\x9c",
    b"\xe4\xb8\xad", "e\u0301".encode(), b"0", b"1;2", b"m", b"abc", b"secret", b"sec", b"ret", b" ",
])  # fmt: skip
OUTPUT = st.lists(SEQUENCES | st.binary(max_size=6), max_size=40).map(b"".join)


@given(
    OUTPUT, st.lists(st.integers(0, 300), max_size=12), st.sampled_from([(), ("secret",), ("secret-abc", "abcabc12")])
)
@example(b"\x1b]0;ti\x1b[31mtle\x07x", [6], ())
@example(b"\x1b(\x1b[31mB", [2], ())
@example(b"e\b\xcc\x81", [2], ())
def test_any_pieces_give_the_same_rows(output, cuts, secrets):
    places = sorted({min(cut, len(output)) for cut in cuts})
    pieces = [output[start:end] for start, end in zip([0, *places], [*places, len(output)], strict=True)]
    assert shown(*pieces, secrets=secrets) == shown(output, secrets=secrets)


def test_how_far_the_cursor_can_go_back_does_not_depend_on_the_pieces():
    output = b"".join(b"%d\n" % number for number in range(60)) + b"\x1b[20A\x1b[J\x1b[50AX\n"
    assert shown(*(output[at : at + 1] for at in range(len(output)))) == shown(output)


@given(OUTPUT)
def test_rows_hold_no_control_characters_and_are_bounded(output):
    for row in shown(output, width=50):
        assert len(row) <= COLUMNS
        assert not [letter for letter in row if unicodedata.category(letter) == "Cc" and letter != "\t"]


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\t\n"), max_size=200))
def test_text_without_controls_is_shown_as_it_is(text):
    expected = text.split("\n")
    assert shown(text.encode()) == (expected if expected[-1] else expected[:-1])


@given(st.lists(st.sampled_from([b"\x1b[A", b"x\n", b"\n", b"\x1b[40A", b"yy"]), max_size=200))
def test_no_more_rows_wait_than_the_cursor_can_go_back_to(parts):
    terminal = Terminal(WIDTH)
    for part in parts:
        terminal.feed(part)
        assert len(terminal.state()) <= ROWS


def test_a_row_that_grows_for_ever_takes_no_more_memory_than_its_width():
    terminal = Terminal(WIDTH)
    for _ in range(100):
        terminal.feed(b"x" * 10_000)
        terminal.feed("\u0301".encode() * 1000)
    assert len(terminal.state()[-1]) == WIDTH


ROWS_OF_ACCENTS = ("e\u0301" * COLUMNS + "\n").encode() * (ROWS - 1)

# What is printed first, and what is repeated.
HOSTILE = {
    "letters drawn over": (b"", b"\rx"),
    "backspaces": (b"", b"\bx"),
    "returns in empty rows": (b"", b"x\r\n\r"),
    "two rows in turn": (b"z" * COLUMNS + b"\n" + b"z" * COLUMNS, b"\x1bMx\nx"),
    "two rows of accents in turn": (ROWS_OF_ACCENTS, b"\x1bMx\n"),
    "rows of accents, from the first to the last": (ROWS_OF_ACCENTS, b"\x1bE\x1b[31A\x1b[@"),
    "inserted into a full row": (b"z" * WIDTH + b"\r", b"\x1b[@"),
    "deleted and erased": (b"z" * WIDTH, b"\x1b[1000G\x1b[@\x1b[D\x1b[1K\x1b[P"),
    "rows below erased": (ROWS_OF_ACCENTS, b"\x1bM\x1b[J\n"),
    "a saved cursor": (ROWS_OF_ACCENTS, b"\x1b7\x1bM\x1b8x"),
    "sequences that do nothing, in a long row": ("中".encode() * WIDTH, b"x\x1b="),
    "titles that nothing ends": (b"", b"\x1b]" + b"x" * 4095),
    "the beginning of sequences": (b"", b"\x1b[" + b"1" * 63),
    "tabs": (b"", b"\r\t\x1b[D\t"),
    "accents": (b"x", "\u0301\r\u0301".encode()),
}


@pytest.mark.kind("log")
@pytest.mark.parametrize("secrets", [0, 50], ids="{} secrets".format)
@pytest.mark.parametrize("case", HOSTILE)
def test_the_work_grows_with_the_length_and_not_with_what_is_on_the_rows(case, secrets, monkeypatch, record_property):
    before, repeated = HOSTILE[case]
    output = before + repeated * (8192 // len(repeated))
    terminal = Terminal(WIDTH)
    terminal.hide(Mask(f"secret-value-{number:03}" for number in range(secrets)))
    laid_out, calls = counted(terminal, output, monkeypatch)
    record_property(
        "seen", f"{calls / len(output):.1f} calls and {laid_out / len(output):.1f} characters for each byte"
    )
    assert laid_out <= len(output)
    # A row that is given out is searched for each form of each secret.
    assert calls <= (16 if not secrets else 64) * len(output)


def counted(terminal, output, monkeypatch):
    """How many characters are laid out into cells, and how many functions are called; the pieces are of 4 KB."""
    laid_out, calls = [], 0
    cells_of = row_module._cells_of
    monkeypatch.setattr(
        row_module, "_cells_of", lambda text, *place: laid_out.append(len(text)) or cells_of(text, *place)
    )

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        for start in range(0, len(output), 4096):
            terminal.feed(output[start : start + 4096])
    finally:
        sys.setprofile(None)
    return sum(laid_out), calls

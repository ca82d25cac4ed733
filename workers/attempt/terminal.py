"""What a terminal would show of a build's output: rows of text, as far as they can still change.

Control sequences (ECMA-48, and xterm's) move the cursor within the newest rows, erase, or do nothing here: colours,
titles, links and character sets leave no trace. The same bytes give the same rows, whatever pieces they come in.
"""

from __future__ import annotations

import codecs
import re

from workers.attempt.mask import SHOWN, Mask
from workers.attempt.row import COLUMNS, HIDDEN, Row

ROWS = 32  # that the cursor can go back to
_STRING = r"[^\x07\n\x18\x1a\x1b]{0,4096}"  # of a title or a link; what is longer is text
_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLOUR = re.compile(r"\x1b\[[0-9;:]{0,64}m")
_TOKEN = re.compile(
    r"\x1b\[(?P<numbers>[0-?]{0,64})(?P<between>[ -/]{0,8})(?P<final>[@-~])?"
    rf"|\x1b[\]PX^_]{_STRING}(?:\x07|\x1b\\|[\x18\x1a])?"
    r"|\x1b[ -/]{0,8}(?P<escape>[0-~])?"
    r"|(?P<text>[^\x00-\x08\x0a-\x1f\x7f]+)|(?P<control>.)",
    re.DOTALL,
)
_INCOMPLETE = re.compile(rf"\x1b(?:\[[0-?]{{0,64}}[ -/]{{0,8}}|[\]PX^_]{_STRING}\x1b?|[ -/]{{0,8}})\Z")
_EIGHT_BIT = re.compile("[\x80-\x9f]")  # each stands for an escape and a letter
_HIDDEN_RUN = re.compile(f"{HIDDEN}+")


class Terminal:
    """Takes output, gives rows. ``width`` bounds the characters of a row; what is printed behind them is left out."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.went_up = False  # since somebody last looked: it draws over rows that it has written
        self._mask = Mask()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._carry = ""  # the beginning of a sequence
        self._rows: list[str | Row] = [""]  # those that the cursor was within are kept by their cells
        self._at = 0  # the cursor's row
        self._column: int | None = None  # behind the end of its row
        self._saved = (0, 0)
        self._left: list[str] = []  # rows that the cursor can no longer go back to

    def hide(self, mask: Mask) -> None:
        """Secrets that are hidden even where only parts of them are left on a row."""
        self._mask = mask
        self._rows = [self._text(row) for row in self._rows]

    def feed(self, piece: bytes) -> list[str]:
        """The rows that can no longer change."""
        text = self._carry + self._decoder.decode(piece)
        self._carry = ""
        if _STEERS.search(text):
            text = _EIGHT_BIT.sub(lambda found: "\x1b" + chr(ord(found[0]) - 0x40), text)
            if found := _INCOMPLETE.search(text):
                text, self._carry = text[: found.start()], found[0]
            plain, colours = _COLOUR.subn("", text)
            # With other sequences among them, taking some out could make a new one of what is left.
            text = (plain if colours == text.count("\x1b") else text).replace("\r\n", "\n")
        if _STEERS.search(text) or not self._print_lines(text):
            self._interpret(text)
        left, self._left = self._left, []
        return left + self._give(min(len(self._rows) - ROWS, self._at))

    def state(self) -> list[str]:
        """The rows that are not given out yet, the last of which may be unfinished."""
        rows = [self._text(row) for row in self._rows]
        cursors = self._rows[self._at]
        if isinstance(cursors, Row):
            rows[self._at] = cursors.state()
        return [_HIDDEN_RUN.sub(SHOWN, row) for row in rows]

    def settle(self) -> list[str]:
        """Gives out all rows but the newest: the cursor cannot go back to them."""
        return self._give(self._at)

    def end(self) -> list[str]:
        """Gives out all rows, as if the output ended here; a newest one that is empty is none."""
        self._interpret(self._decoder.decode(b"", final=True))
        self._carry = ""
        rows = self._give(len(self._rows))
        self._rows, self._at, self._column = [""], 0, None
        return rows if rows[-1] else rows[:-1]

    def _print_lines(self, text: str) -> bool:
        """Appends text without controls, unless the cursor is elsewhere."""
        last = self._rows[-1]
        if not isinstance(last, str) or self._at != len(self._rows) - 1 or self._column is not None:
            return False
        first, *others = text.split("\n")
        self._rows[-1] = (last + first)[: self.width]
        if others:
            self._rows += [line[: self.width] for line in others]
            self._at = len(self._rows) - 1
        return True

    def _interpret(self, text: str) -> None:
        for found in _TOKEN.finditer(text):
            if found["text"] is not None:
                self._print(found["text"])
            elif found["control"] is not None:
                self._control(found["control"])
            elif found["final"] is not None and not found["between"]:
                self._steer(found["final"], found["numbers"])
            elif found["escape"] is not None and len(found[0]) == 2:
                self._escape(found["escape"])

    def _print(self, text: str) -> None:
        row = self._rows[self._at]
        if isinstance(row, Row) or self._column is not None:
            self._column = self._edit().put(self._where(), text)
        elif len(row) < self.width:
            self._rows[self._at] = (row + text)[: self.width]

    def _control(self, control: str) -> None:
        if control == "\n":
            self._line_feed()
        elif control == "\r":
            self._column = 0
        elif control == "\b":
            self._column = max(self._where() - 1, 0)
        elif control in "\x0b\x0c":
            self._line_feed()

    def _escape(self, letter: str) -> None:
        if letter == "7":
            self._saved = (len(self._rows) - self._at, self._where())
        elif letter == "8":
            self._go(len(self._rows) - self._saved[0], self._saved[1])
        elif letter == "M":
            self._go(self._at - 1, self._where())
        elif letter in "DE":
            self._line_feed()

    def _steer(self, final: str, numbers: str) -> None:
        if final in "su":
            self._escape("7" if final == "s" else "8")
            return
        first = numbers.partition(";")[0]
        number = int(first) if first.isascii() and first.isdigit() else 0
        count = min(max(number, 1), 10_000)
        if final in "ABEF":
            down = count if final in "BE" else -count
            self._go(self._at + down, 0 if final in "EF" else self._where())
        elif final in "CDG`a":
            column = self._where()
            wanted = {"C": column + count, "a": column + count, "D": column - count}.get(final, count - 1)
            self._column = min(max(wanted, 0), COLUMNS)
        elif final == "K" and (number or self._column is not None):
            self._erase(number)
        elif final == "J":
            self._erase_rows(number)
        elif final in "PX@":
            self._shift(final, count)
        elif final in "Hf":
            self._begin_row()

    def _begin_row(self) -> None:
        """For a place on a screen: a log has none, and keeps what a screen would lose."""
        self._leave_row()
        self._at, self._column = len(self._rows) - 1, None
        if self._rows[-1] != "":
            self._line_feed()

    def _line_feed(self) -> None:
        self._leave_row()
        self._at += 1
        if self._at == len(self._rows):
            self._rows.append("")
            # Here, not only at the end of a piece: what the cursor can go back to must not depend on the pieces.
            self._left += self._give(len(self._rows) - ROWS)
        self._column = None if self._rows[self._at] == "" else 0

    def _go(self, row: int, column: int) -> None:
        self._leave_row()
        self.went_up = self.went_up or row < self._at
        self._at = min(max(row, 0), len(self._rows) - 1)
        self._column = min(column, COLUMNS)

    def _erase(self, kind: int) -> None:
        column = self._where()
        self._edit().erase(kind, column)
        self._column = column

    def _erase_rows(self, kind: int) -> None:
        if kind > 1:
            self._begin_row()
        else:
            self._erase(kind)
        if kind == 0:
            del self._rows[self._at + 1 :]

    def _shift(self, final: str, count: int) -> None:
        column = self._where()
        if final in "PX":
            self._edit().delete(column, count)
        if final in "X@":
            self._edit().insert(column, count)
        self._column = column

    def _where(self) -> int:
        return len(self._edit()) if self._column is None else self._column

    def _edit(self) -> Row:
        """The cursor's row by its cells. It stays so: a cursor that comes and goes must not cost a row each time."""
        row = self._rows[self._at]
        if isinstance(row, str):
            row = self._rows[self._at] = Row(row, self._mask)
        return row

    def _leave_row(self) -> None:
        """One that was erased is as good as a new one."""
        row = self._rows[self._at]
        if isinstance(row, Row) and row.is_blank():
            self._rows[self._at] = ""

    def _text(self, row: str | Row) -> str:
        return row if isinstance(row, str) else row.text().rstrip(" ")[: self.width]

    def _give(self, count: int) -> list[str]:
        """Takes rows off the top."""
        if count <= 0:
            return []
        rows, self._rows = self._rows[:count], self._rows[count:]
        self._at -= count
        return [_HIDDEN_RUN.sub(SHOWN, self._text(row)) for row in rows]

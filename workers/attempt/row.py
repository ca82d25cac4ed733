"""A row of a terminal that the cursor has gone back in: a cell for each column, and where the text in it came from."""

from __future__ import annotations

import unicodedata

from workers.attempt.mask import Mask

COLUMNS = 1000  # no terminal is wider
CUT = " [cut]"
HIDDEN = "\x00"  # in the place of a character of a secret: no row has one of its own
_TAB = 8
_PRINTED_MAX = 16_384
_JOINED_MAX = 16  # accents and the like on one character


class Row:
    """Cells of one character each; one that is wider has empty cells behind it."""

    def __init__(self, text: str, mask: Mask) -> None:
        self._mask = mask
        self._printed = ""  # in its order: another text may overwrite a part of a secret
        self._hides = bytearray()  # which of these characters are part of one
        self._unsearched: list[str] = []  # printed since
        self._length = 0  # of both
        self._cut = len(text) > COLUMNS
        if self._cut:
            text = mask.cut(text, COLUMNS)[:COLUMNS]
        cells, origins = _cells_of(text, 0, self._remember(text))
        self._cut = self._cut or len(cells) > COLUMNS
        self._cells, self._origins = cells[:COLUMNS], origins[:COLUMNS]

    def __len__(self) -> int:
        return len(self._cells)

    def is_blank(self) -> bool:
        """Whether it shows nothing."""
        cells = self._cells
        return not (self._cut or (cells and (cells[-1] != " " or cells != [" "] * len(cells))))

    def text(self) -> str:
        """What is shown, with `HIDDEN` for what was printed as part of a secret."""
        return "".join(self._hidden()) + (CUT if self._cut else "")

    def state(self) -> str:
        """The same now, without what may be the beginning of a secret: the rest of it may be still to come."""
        hidden = self._hidden()
        kept = len(self._mask.withhold(self._printed))
        cells = zip(hidden, self._origins, strict=True)
        return "".join(" " if origin >= kept and self._printed else cell for cell, origin in cells).rstrip(" ")

    def put(self, column: int, text: str) -> int:
        """Writes from a column on; returns the column behind it."""
        self._pad(column)
        joined = _joined(text) if column else 0
        if joined:
            # They belong to the character before, which may have come in an earlier piece.
            last = next((place for place in range(column - 1, -1, -1) if self._cells[place]), 0)
            self._cells[last] = (self._cells[last] + text[:joined])[:_JOINED_MAX]
        new, origins = _cells_of(text[joined:], column, self._remember(text) + joined)
        room = max(COLUMNS - column, 0)
        self._cut = self._cut or len(new) > room
        new, origins = new[:room], origins[:room]
        end = column + len(new)
        self._break(column, end)
        self._cells[column:end], self._origins[column:end] = new, origins
        return end

    def erase(self, kind: int, column: int) -> None:
        """Everything from the column on (0), up to it (1) or in the row (2)."""
        self._cut = self._cut and (kind == 1 or (kind == 0 and column >= COLUMNS))
        if kind == 0:
            self._break(column, len(self))
            del self._cells[column:], self._origins[column:]
        elif kind in (1, 2):
            until = len(self) if kind == 2 else min(column + 1, len(self))
            self._break(0, until)
            self._cells[:until], self._origins[:until] = [" "] * until, [-1] * until

    def delete(self, column: int, count: int) -> None:
        """Takes out columns; what is behind them moves up."""
        end = min(column + count, len(self))
        self._break(column, end)
        del self._cells[column:end], self._origins[column:end]

    def insert(self, column: int, count: int) -> None:
        """Puts in blank columns; what is behind them moves on."""
        self._pad(column)
        self._break(column, column)
        count = min(count, COLUMNS - column)
        self._cells[column:column], self._origins[column:column] = [" "] * count, [-1] * count
        del self._cells[COLUMNS:], self._origins[COLUMNS:]

    def _pad(self, column: int) -> None:
        lacks = column - len(self)
        if lacks > 0:
            self._cells += [" "] * lacks
            self._origins += [-1] * lacks

    def _break(self, start: int, end: int) -> None:
        """Where only a part of something wide will be overwritten, the rest of it becomes blank."""
        for edge in (start, end):
            if 0 < edge < len(self) and self._cells[edge] == "":
                first = next(column for column in range(edge, -1, -1) if self._cells[column])
                last = next((column for column in range(edge, len(self)) if self._cells[column]), len(self))
                self._cells[first:last] = [" "] * (last - first)

    def _remember(self, text: str) -> int:
        """Where in what was printed this text is from now on."""
        if not self._mask.longest:
            return 0
        if self._length > _PRINTED_MAX + self._mask.longest:
            self._forget()
        start = self._length
        self._unsearched.append(text)
        self._length += len(text)
        return start

    def _forget(self) -> None:
        """All that was printed but the newest, which may be the beginning of a secret."""
        self._cells = self._hidden()
        forgotten = self._length - self._mask.longest
        self._printed, self._hides = self._printed[forgotten:], self._hides[forgotten:]
        self._length -= forgotten
        self._origins = [origin - forgotten for origin in self._origins]

    def _hidden(self) -> list[str]:
        self._search()
        if 1 not in self._hides:
            return self._cells
        cells = zip(self._cells, self._origins, strict=True)
        return [HIDDEN if origin >= 0 and self._hides[origin] else cell for cell, origin in cells]

    def _search(self) -> None:
        """Looks for secrets in what was printed since it last did, and in those that began before."""
        if not self._unsearched:
            return
        begin = max(len(self._printed) - self._mask.longest, 0)
        self._printed += "".join(self._unsearched)
        self._unsearched = []
        self._hides += bytes(self._length - len(self._hides))
        for start, end in self._mask.places(self._printed[begin:]):
            self._hides[begin + start : begin + end] = b"\1" * (end - start)


def _cells_of(text: str, column: int, start: int) -> tuple[list[str], list[int]]:
    """The text from a column on, and where each cell is from."""
    if text.isascii() and "\t" not in text:
        return list(text), list(range(start, start + len(text)))
    cells: list[str] = []
    origins: list[int] = []
    last = 0
    for place, letter in enumerate(text, start):
        wide = _TAB - (column + len(cells)) % _TAB if letter == "\t" else _width(letter)
        if wide == 0 and cells:
            cells[last] = (cells[last] + letter)[:_JOINED_MAX]
            continue
        last = len(cells)
        cells += [letter, *[""] * (wide - 1)]
        origins += [place] * max(wide, 1)
    return cells, origins


def _joined(text: str) -> int:
    """How many characters at the beginning belong to the one before."""
    return next((place for place, letter in enumerate(text) if _width(letter)), len(text)) if text else 0


def _width(letter: str) -> int:
    if letter < "\u0300":
        return 1
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1

"""A table of claims: what was promised, what was found, and whether the promise is met."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class Claims:
    """Collects claims; `finish` prints them and ends the process with 1 where one falls short."""

    title: str
    _rows: list[tuple[str, str, bool]] = field(default_factory=list)

    def add(self, claim: str, figure: str, holds: bool) -> None:
        """A claim that was tried."""
        self._rows.append((claim, figure, holds))
        print(f"{'holds' if holds else 'FALLS SHORT'}: {claim}: {figure}", flush=True)

    def finish(self) -> None:
        """The table, and the end of the process."""
        sys.exit(self.shown())

    def shown(self) -> int:
        """The table; returns the exit code."""
        table = Table("claim", "figure", "verdict", title=self.title)
        for claim, figure, holds in self._rows:
            table.add_row(claim, figure, "holds" if holds else "[red]falls short[/red]")
        Console(width=150).print(table)
        return 0 if self._rows and all(holds for _, _, holds in self._rows) else 1

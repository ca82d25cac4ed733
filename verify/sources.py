"""Sources and buildpacks as they occur in the world: ``python -m verify.sources`` on a farm whose services are up.

Runs every test with the marker ``kind``, in tests/unit and on real services, and prints for each kind the inputs that
were tried, what was seen, and whether it is right. KIND in the environment chooses one kind. The exit status is 1 if a
test fails or is skipped, if one records nothing as seen, or if a kind has fewer than four inputs: the case that was
given, and three of our own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

ROOT = Path(__file__).parents[1]
KINDS = (
    "sources", "text files", "times", "config vars", "refs", "start", "log", "secrets", "folders and caches",
    "project.toml",
)  # fmt: skip
INPUTS_MIN = 4


@dataclass(frozen=True)
class Row:
    """A test as the table shows it."""

    kind: str
    name: str  # what was put in
    seen: str  # what the test recorded, or why it recorded nothing
    holds: bool


def row(kind: str, nodeid: str, outcome: str, seen: Sequence[str]) -> Row:
    """The row of one test; ``outcome`` is pytest's: passed, failed or skipped."""
    name = _readable(nodeid)
    if outcome != "passed":
        return Row(kind, name, "; ".join([outcome, *seen]), holds=False)
    return Row(kind, name, "; ".join(seen) or "nothing recorded", holds=bool(seen))


def shortcomings(rows: Iterable[Row], kinds: Iterable[str] = KINDS) -> list[str]:
    """What is wrong with the rows as a whole: a sentence for each kind that falls short or is not one of ours."""
    counts = dict.fromkeys(kinds, 0)
    unknown: list[str] = []
    for item in rows:
        if item.kind in counts:
            counts[item.kind] += 1
        elif item.kind not in unknown:
            unknown.append(item.kind)
    few = [f"{kind}: {count} inputs, expected {INPUTS_MIN}" for kind, count in counts.items() if count < INPUTS_MIN]
    return [*few, *(f"{kind}: not one of the kinds" for kind in unknown)]


def holds(rows: Sequence[Row], kinds: Iterable[str] = KINDS) -> bool:
    """Whether every row holds and no kind falls short."""
    return all(item.holds for item in rows) and not shortcomings(rows, kinds)


def show(rows: Sequence[Row], kinds: Sequence[str] = KINDS) -> None:
    """Prints the rows by kind, and below them what falls short."""
    table = Table("kind", "input", "seen", "verdict", title="Sources and buildpacks as they occur in the world")
    for item in sorted(rows, key=lambda item: (_place(item.kind, kinds), item.kind)):
        verdict = "holds" if item.holds else "[red]falls short[/red]"
        table.add_row(item.kind, escape(item.name), escape(item.seen), verdict)
    console = Console(width=170)
    console.print(table)
    for sentence in shortcomings(rows, kinds):
        console.print(f"[red]falls short[/red]: {escape(sentence)}")
    console.print(f"{sum(item.holds for item in rows)} of {len(rows)} inputs hold")


@dataclass(eq=False)  # pytest keeps its plug-ins in sets
class Kinds:
    """A plug-in of pytest: keeps the tests of some kinds, and collects their rows."""

    wanted: Sequence[str]
    rows: list[Row] = field(default_factory=list)
    _kinds: dict[str, str] = field(default_factory=dict)
    _outcomes: dict[str, str] = field(default_factory=dict)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Drop every test of another kind, or of none."""
        marked = [(item, _kind_of(item)) for item in items]
        everything = tuple(self.wanted) == KINDS
        chosen = {item: kind for item, kind in marked if kind and (everything or kind in self.wanted)}
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen
        self._kinds = {item.nodeid: kind for item, kind in chosen.items()}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Set-up, call and tear-down each report; the worst of them counts."""
        before = self._outcomes.get(report.nodeid, "passed")
        self._outcomes[report.nodeid] = report.outcome if before == "passed" else before
        if report.when == "teardown":
            seen = [str(value) for name, value in report.user_properties if name == "seen"]
            self.rows.append(row(self._kinds[report.nodeid], report.nodeid, self._outcomes[report.nodeid], seen))


def run(paths: Iterable[str], wanted: Sequence[str] = KINDS) -> tuple[list[Row], int]:
    """The rows of the tests below these paths, and pytest's own exit status."""
    kinds = Kinds(wanted)
    status = pytest.main(
        ["-q", "--no-header", f"--rootdir={ROOT}", f"--config-file={ROOT / 'pytest.ini'}", *paths], [kinds]
    )
    return kinds.rows, int(status)


def _kind_of(item: pytest.Item) -> str:
    marker = item.get_closest_marker("kind")
    return str(marker.args[0]) if marker and marker.args else ""


def _readable(nodeid: str) -> str:
    """``a/b.py::test_this_and_that[an id]`` as "this and that: an id"."""
    function, bracket, parameters = nodeid.rpartition("::")[2].partition("[")
    name = function.removeprefix("test_").replace("_", " ")
    return f"{name}: {parameters.removesuffix(']')}" if bracket else name


def _place(kind: str, kinds: Sequence[str]) -> int:
    return kinds.index(kind) if kind in kinds else len(kinds)


def main() -> None:
    kind = os.environ.get("KIND")
    wanted = (kind,) if kind else KINDS
    os.environ["BUILDFARM_TESTS_NEED_SERVICES"] = "1"  # an input that is skipped was not tried
    os.environ.setdefault("BUILDFARM_EXAMPLES", "1000")  # generated repositories; with it, all floods of the log
    rows, status = run([str(ROOT / "tests/unit"), str(ROOT / "tests/integration")], wanted)
    show(rows, wanted)
    sys.exit(0 if status == 0 and holds(rows, wanted) else 1)


if __name__ == "__main__":
    main()

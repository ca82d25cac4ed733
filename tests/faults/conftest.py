"""Three build nodes with their own Redis and registry; each fault is a test, and a row of a table."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from localfarm.packages import ensure_packages
from testkit.cluster.cluster import PROGRAMS
from tests.faults.fleet import Fleet, Seen, open_fleet

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs/faults.md"
ALL = os.environ.get("BUILDFARM_FAULTS") == "all"
SEEN = pytest.StashKey[dict[str, Seen]]()  # of the tests of this process
FAULT = "fault"  # the property of a report that has its row


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SEEN] = {}
    config.pluginmanager.register(Rows())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`make test` runs a selection; `make faults` all of them."""
    mine = [item for item in items if HERE in item.path.parents]
    left_out = [] if ALL else [item for item in mine if not item.get_closest_marker("short")]
    for item in mine:
        item.add_marker(pytest.mark.timeout(400))
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Fleet]:
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    ensure_packages(PROGRAMS, print)
    with open_fleet() as fleet:
        yield fleet


@pytest.fixture
def fleet(nodes: Fleet) -> Fleet:
    """All three nodes take builds, nothing runs, and nothing is left of an earlier fault."""
    nodes.make_ready()
    return nodes


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Seen:
    """What a fault did; it goes into the table, whether the promise held or not."""
    found = Seen()
    request.config.stash[SEEN][request.node.nodeid] = found
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marker = item.get_closest_marker("fault")
    if marker and (report.when == "call" or report.failed):
        row = item.config.stash[SEEN].setdefault(item.nodeid, Seen())
        fault, promise = marker.args
        if hasattr(item, "callspec"):
            fault = fault.format(**{name: str(value) for name, value in item.callspec.params.items()})
        row.fault, row.promise = fault, promise
        row.holds = report.passed
        if report.failed:
            row.say(str(call.excinfo.value).splitlines()[0][:200] if call.excinfo else "failed")
        report.user_properties.append((FAULT, asdict(row)))
    return report


class Rows:
    """The rows of all tests, also of those that ran in a worker of pytest-xdist: a report carries its row."""

    def __init__(self) -> None:
        self.rows: dict[str, Seen] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, fields in report.user_properties:
            if name == FAULT and isinstance(fields, dict):
                self.rows[report.nodeid] = Seen(**fields)

    def pytest_terminal_summary(self) -> None:
        if self.rows:
            show([*self.rows.values()])


def show(rows: list[Seen]) -> None:
    """Prints the table, and writes it into the docs if that was asked for."""
    table = Table("fault", "promise", "seen", "", title="Faults")
    for row in rows:
        table.add_row(row.fault, row.promise, row.text, "holds" if row.holds else "[red]BROKEN[/red]")
    Console(width=180).print(table)
    if os.environ.get("BUILDFARM_FAULTS_WRITE"):
        lines = ["| fault | promise | seen | |", "|---|---|---|---|"]
        lines += [
            f"| {row.fault} | {row.promise} | {row.text} | {'holds' if row.holds else 'broken'} |" for row in rows
        ]
        text = DOCUMENT.read_text()
        new = re.sub(
            r"(?s)(<!-- table -->\n).*(\n<!-- end -->)", lambda found: found[1] + "\n".join(lines) + found[2], text
        )
        DOCUMENT.write_text(new)

"""docs/decisions/README.md has a row for each decision: its title, status and date."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "docs/decisions"
ROW = re.compile(
    r"^\| \[(\d{3})\]\(([\w-]+\.md)\) \| (.+?) \| "
    r"(accepted|planned|(?:replaced|withdrawn): \[\d{3}\]\(.+?\)) \| (\S+) \|$",
    re.M,
)


def rows():
    return ROW.findall((FOLDER / "README.md").read_text())


def test_every_decision_has_its_row():
    pages = {path.name: path.read_text().partition("\n")[0] for path in sorted(FOLDER.glob("[0-9]*.md"))}
    wanted = {name: title.replace(" (withdrawn)", "") for name, title in pages.items()}
    assert len(wanted) > 20
    assert {name: f"# {number}: {title}" for number, name, title, _, _ in rows()} == wanted


def test_rows_are_in_order_and_each_number_is_given_once():
    numbers = [number for number, *_ in rows()]
    assert numbers == [f"{number:03}" for number in range(1, len(numbers) + 1)]


def test_a_title_says_that_its_decision_was_withdrawn():
    said = {path.name for path in FOLDER.glob("[0-9]*.md") if "(withdrawn)" in path.read_text().partition("\n")[0]}
    assert {name for _, name, _, status, _ in rows() if status.startswith("withdrawn")} == said


def test_dates_are_dates():
    assert all(datetime.date.fromisoformat(day) for *_, day in rows())

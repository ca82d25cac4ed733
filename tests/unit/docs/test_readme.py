"""Every figure in the README is one that a benchmark wrote to bench/results, and its output is of a real build."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
UNITS = re.compile(r"\d[\d.,]* ?(?:(?:s|ms|seconds|times|bytes|[kMG]i?B)\b|%)")


@pytest.fixture(scope="module")
def figures(load_program):
    return load_program(ROOT / "tools/figures")


def test_the_table_is_what_the_results_give(figures):
    assert figures.with_table(README, figures.table(ROOT / "bench/results")) == README, "run tools/figures"


def test_another_result_is_another_table(figures, tmp_path):
    results = shutil.copytree(ROOT / "bench/results", tmp_path / "results")
    queue = json.loads((results / "queue.json").read_text())
    queue["rates"]["submit"]["ours_ms"] *= 2
    (results / "queue.json").write_text(json.dumps(queue))
    assert figures.with_table(README, figures.table(results)) != README


def test_no_figure_stands_outside_of_the_table_and_the_recorded_output():
    prose = re.sub(r"<!-- (figures|output): written by .*?<!-- \1 end -->", "", README, flags=re.DOTALL)
    assert len(prose) < len(README) - 3000
    assert UNITS.findall(prose) == []
    assert UNITS.findall("0.75 s, 1.4 kB, 64 MiB, 3 %") == ["0.75 s", "1.4 kB", "64 MiB", "3 %"]


def test_each_row_names_a_benchmark_that_make_runs():
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"\| `make ([\w-]+)` \|$", README, re.MULTILINE)
    assert len(named) > 8
    assert set(named) <= targets


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0583, "0.058 s"), (0.7519, "0.75 s"), (8.657, "8.7 s"), (13.86, "14 s"), (0.1, "0.10 s")],
)
def test_seconds_have_two_digits(figures, value, text):
    assert figures.seconds(value) == text


def test_the_output_is_of_one_build():
    output = README.partition("written by tools/record -->")[2].partition("<!-- output end -->")[0]
    of_the_image = "\n".join(line for line in output.splitlines() if not line.startswith("base "))
    digests = re.findall(r"sha256:[0-9a-f]{64}", of_the_image)
    assert len(digests) == 3
    assert len(set(digests)) == 1


def test_the_pictures_are_small():
    pictures = re.findall(r"!\[[^\]]+\]\((docs/[\w.-]+)\)", README)
    assert [Path(one).suffix for one in pictures] == [".svg", ".png"]
    assert all((ROOT / one).stat().st_size < 200_000 for one in pictures)

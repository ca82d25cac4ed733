"""What of a compile is the farm's to make quick: all but what the app's own scripts take."""

from __future__ import annotations

import pytest

from buildfarm.events import LogLine
from buildfarm.model import Phase
from testkit.apps.compile_times import CompileTime, time_scripts


def line(second: float, text: str, phase: Phase = Phase.COMPILE) -> LogLine:
    return LogLine(position=f"{int(second * 1000)}-0", attempt=1, phase=phase, text=text)


LOG = [
    line(0, "Python", Phase.DETECT),
    line(1, "-----> Installing with Python"),
    line(2, "       Python: the builder's"),
    line(4, "-----> Running bin/post_compile"),
    line(5, "       made"),
    line(7, "-----> Compiling"),
    line(8, "-----> Running npm run build"),
    line(9, "       built"),
    line(11, "Exporting", Phase.EXPORT),
    line(20, "-----> Running what is no compile", Phase.EXPORT),
    line(30, "Exported", Phase.EXPORT),
]


@pytest.mark.parametrize(
    ("scripts", "seconds"),
    [("", 0), ("^Running bin/", 3), ("^Running npm", 3), ("^Running", 6), ("^Installing", 3), ("absent", 0)],
)
def test_a_scripts_time_is_from_its_header_to_the_next(scripts, seconds):
    assert time_scripts(LOG, scripts) == seconds


def test_a_last_section_ends_with_the_log():
    assert time_scripts(LOG[:8], "^Running npm") == 1
    assert time_scripts([], "^Running npm") == 0


@pytest.mark.parametrize(
    ("first", "again", "is_quick"),
    [
        (CompileTime(10), CompileTime(2.5), True),
        (CompileTime(10), CompileTime(2.6), False),
        (CompileTime(14, 4), CompileTime(6.5, 4), True),
        (CompileTime(14, 4), CompileTime(6.5, 3.5), False),
        (CompileTime(0.6), CompileTime(0.5), True),
        (CompileTime(0.6), CompileTime(0.6), False),
    ],
)
def test_a_second_compile_takes_a_quarter_of_the_first_or_next_to_nothing(first, again, is_quick):
    assert again.is_quick_after(first) is is_quick


def test_a_share_leaves_the_scripts_out():
    assert CompileTime(6, 4).share_of(CompileTime(12, 4)) == 0.25
    assert CompileTime(1).share_of(CompileTime(1, 2)) == 1

"""A log as the page gets it: groups of lines, and its end."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace

import pytest
from jinja2 import ChoiceLoader, DictLoader, Environment, PackageLoader

from buildfarm.api.page import log
from buildfarm.events import LogLine
from buildfarm.model import Phase
from buildfarm.store.archive.log_text import encode_groups, encode_log, position_after

BUILD = SimpleNamespace(id="b")
BUILD_SHOWN = SimpleNamespace(id="b", state="running", request=SimpleNamespace(tenant="t", app="a"))


def lines(count, first=0):
    noise = random.Random(1)
    return [
        LogLine(position=f"5-{number}", attempt=1, phase=Phase.COMPILE, text=f"{number} {noise.random()}")
        for number in range(first, first + count)
    ]


def texts_of(groups):
    return [text for group in groups for text in json.loads(group)[3]]


def test_a_packed_log_comes_in_the_groups_that_it_is_kept_in():
    kept = lines(1234)
    groups = list(log._groups(SimpleNamespace(), BUILD, encode_log(kept)))
    assert groups == list(encode_groups(kept))
    assert texts_of(groups) == [line.text for line in kept]
    assert list(log._groups(SimpleNamespace(), BUILD, b"")) == []


def test_a_log_that_is_not_packed_is_read_line_by_line():
    kept = lines(3)
    farm = SimpleNamespace(logs=lambda build_id: iter(kept))
    assert texts_of(log._groups(farm, BUILD, None)) == [line.text for line in kept]


def test_what_is_lost_of_a_damaged_log_is_named_once_after_the_lines_that_can_be_read():
    kept = lines(20_000)
    asked = []

    def logs(build_id, *, after):
        asked.append(after)
        yield LogLine(position=after, attempt=1, phase=Phase.COMPILE, text="[The rest of this log is lost.]")

    packed = encode_log(kept)
    found = texts_of(log._groups(SimpleNamespace(logs=logs), BUILD, packed[: len(packed) // 2]))
    assert found[-1] == "[The rest of this log is lost.]"
    assert found[:-1] == [line.text for line in kept[: len(found) - 1]]
    assert 1000 < len(found) < 20_000
    assert asked == [kept[len(found) - 2].position]


def test_reading_goes_on_after_the_last_line_of_a_group():
    (group,) = encode_groups(lines(7, first=3))
    assert position_after(group) == "5-9"


def test_the_end_of_a_log_knows_its_numbers():
    last = tuple(enumerate((line.text for line in lines(1234)[-3:]), 1232))
    assert log.tail_of(encode_groups(lines(1234)), 3) == log.Tail(last, cut=True)
    assert not log.tail_of(encode_groups(lines(3)), 3).cut
    assert log.tail_of([], 3) == log.Tail((), cut=False)


@pytest.mark.parametrize(("most", "numbers"), [(2, [1011, 1012]), (3, [11, 1011, 1012]), (5, [9, 10, 11, 1011, 1012])])
def test_missing_lines_keep_their_numbers_before_the_end_and_in_it(most, numbers):
    missing = LogLine(position="6-0", attempt=1, phase=Phase.COMPILE, text="[1,000 lines are missing here: dropped]")
    last = log.tail_of(encode_groups([*lines(10), missing, *lines(2)]), most)
    assert [number for number, _ in last.lines] == numbers
    assert last.cut


def test_each_line_on_the_plain_page_has_its_own_number():
    values = {"build": BUILD_SHOWN, "tail": log.Tail(((9, "a"), (10, "[1,000 lines"), (1010, "<b>")), cut=True)}
    templates = {"_build.html": "", "base.html": "{% block content %}{% endblock %}"}
    loaders = ChoiceLoader([DictLoader(templates), PackageLoader("buildfarm.api")])
    page = Environment(loader=loaders, autoescape=True).get_template("build.html").render(values)
    assert '<li value="10" id="L10">[1,000 lines</li><li value="1010" id="L1010">&lt;b&gt;</li>' in page
    assert "the last 3 lines" in page

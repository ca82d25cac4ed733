"""Several farms behind one address: which of them a request goes to, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.access.cells import Cell, Front
from buildfarm.errors import RequestError
from buildfarm.settings import CELL_NAME, NOT_CELLS

A, B = Cell.parse("a=http://10.0.0.1:8088"), Cell.parse("b=https://b.example.org")
names = st.from_regex(CELL_NAME, fullmatch=True).filter(lambda name: name not in NOT_CELLS)


def cell_of(configuration, host, authorization):
    """What nginx finds in the map: the first regular expression that matches, or else the default."""
    lines = configuration.partition("{")[2].partition("}")[0].splitlines()
    rules = [re.fullmatch(r'    "~(\*?)(.+)" (\w+);', line) for line in lines]
    for rule in filter(None, rules):
        if re.search(rule[2], f"{host} {authorization}", re.IGNORECASE if rule[1] else 0):
            return rule[3]
    return re.search(r"default (\w+);", configuration)[1]


def test_a_cell_has_a_name_and_the_address_of_its_api():
    assert Cell("a", "http", "10.0.0.1:8088") == A
    assert Cell("b", "https", "b.example.org:443") == B
    assert Cell.parse("6=http://[fd00::1]").host == "[fd00::1]:80"


@pytest.mark.parametrize(
    "text",
    [
        *("a", "http://b", "a=", "A=http://b", "a-b=http://b", "a=ftp://b", "a=http://b/v1", "a=http://b;}"),
        *("a=http://u@b", "include=http://b", "default=http://b", "a=http://b:65536"),
    ],
)
def test_what_is_not_a_cell_is_refused(text):
    with pytest.raises(RequestError, match="does not name a cell"):
        Cell.parse(text)


@pytest.mark.parametrize(
    "front",
    [
        Front([A, B], "c"),
        Front([A, A], "a"),
        Front([A], "a", listen="80; }"),
        Front([A], "a", name="x y"),
        Front([A], "a", name="*.example.org"),
    ],
)
def test_what_nginx_could_misread_is_refused(front):
    with pytest.raises(RequestError):
        front.configuration()


@given(st.lists(names, unique=True, min_size=1, max_size=4), st.data())
def test_a_token_goes_to_its_cell_and_no_other(cells, data):
    front = Front([Cell(name, "http", "h:80") for name in cells], cells[0])
    name = data.draw(names)
    found = cell_of(front.configuration(), "any.host", f"Bearer bf_{name}-0123456789abcdef_secret")
    assert found == (name if name in cells else cells[0])


@pytest.mark.parametrize(
    ("host", "authorization", "expected"),
    [
        ("builds.example.org", "", "a"),
        ("builds.example.org", "Bearer bf_0123456789abcdef_secret", "a"),  # made before the farm was a cell
        ("builds.example.org", "bearer  bf_b-0123456789abcdef_secret", "b"),
        ("builds.example.org", "Basic bf_b-x", "a"),
        ("b.builds.example.org", "", "b"),  # its page
        ("b.builds.example.org", "Bearer bf_a-0123456789abcdef_secret", "b"),
        ("b.buildsxexample.org", "", "a"),
    ],
)
def test_a_host_name_or_else_a_token_names_the_cell(host, authorization, expected):
    front = Front([A, B], "a", name="builds.example.org")
    assert cell_of(front.configuration(), host, authorization) == expected


def test_a_connection_that_is_idle_is_closed_before_the_api_closes_it():
    assert Front([A, B], "a").configuration().count("keepalive_timeout 4s;") == 2


def test_certificates_are_verified_of_cells_that_have_one():
    assert "proxy_ssl_verify on;" in Front([A, B], "a").configuration()
    assert "proxy_ssl" not in Front([A], "a").configuration()

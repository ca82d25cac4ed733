"""docs/redis-keys.md has a row for every key that the code names, and names none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from testkit.queue.key_list import ARCHIVED, EXPIRES, KeyRow, key_rows, rows_of

ROOT = Path(__file__).parents[3]
NO_KEYS = {"calls"}  # a channel
CELERYS = {"_kombu.binding", "unacked", "unacked_index", "unacked_mutex"}
DUTIES = {"sweeper", "archivist", "roller", "inspector"}
IN_PYTHON = re.compile(r"""\bkey\(\s*"([\w:.-]+)"((?:,\s*"[\w-]+")*)""")
IN_LUA = re.compile(r"""(?:\bkey\(|\bprefix \.\. |\bnamespace \.\. |KEYS\[1\] \.\. )'([\w.:-]+)'""")


def named() -> dict[str, str]:
    """How keys begin in the code, and a file that names each."""
    found: dict[str, str] = {}
    for path in [*(ROOT / "buildfarm").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]:
        for first, more in IN_PYTHON.findall(path.read_text()):
            found[":".join([first, *re.findall(r'"([\w-]+)"', more)])] = path.name
    for path in (ROOT / "buildfarm/store/scripts").glob("*.lua"):
        for text in IN_LUA.findall(path.read_text()):
            found[text] = path.name
    return {text: name for text, name in found.items() if text not in NO_KEYS}


def test_every_key_that_the_code_names_has_a_row():
    begins = [row.pattern for row in key_rows()]
    assert len(named()) > 50
    missing = {text: name for text, name in named().items() if not any(row.startswith(text) for row in begins)}
    assert missing == {}


def test_every_row_is_of_a_key_that_is_there():
    known = {*named(), *CELERYS, *DUTIES, "build."}
    heads = {row.pattern.partition("<")[0] for row in key_rows()}
    assert {head for head in heads if not any(head.rstrip(":").startswith(text.rstrip(":")) for text in known)} == set()


@pytest.mark.parametrize(
    ("key", "pattern"),
    [
        ("build:0a1b", "build:<id>"),
        ("build:0a1b:log:tail", "build:<id>:log:tail"),
        ("app:images/redis:7", "app:<tenant>/<app>"),
        ("archive:apps", "archive:apps"),
        ("archive:shop/apps", "archive:<tenant>/<app>"),
        ("held:bulk:shop/web", "held:<class>:<tenant>/<app>"),
        ("build.bulk.retry", "build.<class>.retry"),
        ("build.bulk.7", "build.<class>.<number>"),
        ("build.submit", "build.submit"),
        ("logs:open", "logs:open"),
        ("rate:token:10.0.0.1", "rate:<what>:<whose>"),
    ],
)
def test_a_key_has_one_row(key, pattern):
    assert [row.pattern for row in rows_of(key_rows(), key)] == [pattern]


@pytest.mark.parametrize("key", ["builds:a:b", "new", "build:", "archived:1:2", "tagss"])
def test_another_key_has_none(key):
    assert rows_of(key_rows(), key) == []


def test_bounds_are_read():
    [row] = key_rows("| `a:<b>` | zset | x | at most 1,000; expires after a day | 1 | · |")
    assert (row, row.most) == (KeyRow("a:<b>", "zset", ("at most 1,000", "expires after a day")), 1000)
    assert row.has(EXPIRES)
    assert not row.has(ARCHIVED)


def test_a_row_without_a_bound_is_refused():
    with pytest.raises(ValueError, match="states no bound"):
        key_rows("| `a` | zset | x | not many | · | · |")

"""What collections leave in the registry's files."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.gc.memory import Memory, is_of_now
from buildfarm.gc.storage import Storage
from buildfarm.store.keeping.running import Report

names = st.text(min_size=1, max_size=8)
reports = st.builds(Report, names, st.frozensets(names), st.floats(0, 1e10))


@pytest.fixture
def storage(tmp_path):
    found = Storage(tmp_path)
    found.top.mkdir(parents=True)
    return found


@given(st.builds(Memory, names, st.lists(reports).map(tuple), st.dictionaries(names, names)))
def test_what_is_left_comes_back(memory):
    assert Memory.decode(json.loads(json.dumps(memory.encode()))) == memory


def test_the_files_have_the_newest_alone(storage):
    assert Memory.decode(storage.memory()) == Memory()
    for mark in ("one", "two"):
        storage.remember(Memory(mark).encode())
    assert Memory.decode(storage.memory()) == Memory("two")
    assert [path.name for path in storage.top.iterdir()] == ["collection.memory"]


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_damaged_file_is_of_no_farm(storage, content):
    (storage.top / "collection.memory").write_text(content)
    assert not is_of_now(Memory.decode(storage.memory()).mark, {"one"})
    assert not is_of_now(Memory.decode(storage.memory()).mark, set())


@pytest.mark.parametrize(
    ("mark", "marks", "expected"),
    [
        ("", set(), True),  # neither has one: an older version collected
        ("one", {"one"}, True),
        ("two", {"one", "two"}, True),  # a collection died before it was done
        ("one", {"two"}, False),
        ("one", set(), False),
        ("", {"one"}, False),
    ],
)
def test_a_mark_that_redis_does_not_know_is_from_another_time(mark, marks, expected):
    assert is_of_now(mark, marks) is expected

"""Sizes of sandboxes: how they are written, named in queues, asked for, and followed by the next one up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import SettingsError
from buildfarm.model import BuildRequest
from buildfarm.queue.app import FairOrder
from buildfarm.queue.names import (
    farm_kinds,
    kind_of,
    node_kinds,
    node_queue,
    parts_of,
    queue_names,
    size_of,
    size_of_queue,
)
from buildfarm.queue.sizes import larger, sizes_of
from buildfarm.settings import Settings, read_settings
from buildfarm.sources.address import GitSource
from buildfarm.store.records import _stored, decode

GIB = 1024**3
SIZES = "large=memory:6GiB/cpus:4/disk:16GiB/seconds:1800,huge=memory:16GiB"
NAME = st.from_regex(r"[a-z][a-z0-9]{0,29}", fullmatch=True)


def test_a_size_is_like_standard_in_what_it_leaves_out():
    settings = Settings(sizes=SIZES)
    found = sizes_of(settings)
    assert list(found) == ["standard", "large", "huge"]
    large, huge = found["large"], found["huge"]
    assert (large.memory_bytes, large.cpus, large.disk_bytes, large.seconds) == (6 * GIB, 4.0, 16 * GIB, 1800)
    assert (huge.memory_bytes, huge.cpus, huge.seconds) == (16 * GIB, settings.cpus, settings.build_seconds)
    assert settings.longest_seconds == 1800
    assert Settings().longest_seconds == Settings().build_seconds


@pytest.mark.parametrize(
    "sizes",
    [
        "large", "large=", "large=6GiB", "large=memory:6", "large=memory:0GiB", "large=cpus:0", "large=seconds:0",
        "large=memory:6GiB/memory:7GiB", "Large=memory:6GiB", "standard=memory:6GiB", "a=cpus:1,a=cpus:2",
        ",".join(f"s{number}=cpus:1" for number in range(9)),
    ],
)  # fmt: skip
def test_a_size_that_cannot_be_read_is_refused_with_the_settings_name(sizes, monkeypatch):
    monkeypatch.setenv("BUILDFARM_SIZES", sizes)
    with pytest.raises(SettingsError, match="BUILDFARM_SIZES cannot be read"):
        read_settings()


@pytest.mark.parametrize("name", ["node_sizes", "tenant_sizes", "sizes_on_demand"])
def test_a_setting_that_names_an_unknown_size_is_refused(name, monkeypatch):
    monkeypatch.setenv(f"BUILDFARM_{name.upper()}", "standard,gigantic")
    with pytest.raises(SettingsError, match=f"{name} names gigantic"):
        read_settings()


@given(NAME, NAME | st.just("standard"))
def test_a_kind_names_its_class_and_size(build_class, size):
    assert parts_of(kind_of(build_class, size)) == (build_class, size)


@given(NAME, NAME, st.from_regex(r"[A-Za-z0-9._-]{1,40}", fullmatch=True))
def test_each_queue_says_which_size_its_builds_have(build_class, size, node):
    kind = kind_of(build_class, size)
    assert {size_of_queue(queue) for queue in queue_names([kind], 3)} == {size, ""}
    assert {size_of_queue(queue) for queue in queue_names([build_class], 3)} == {"standard", ""}
    assert size_of_queue(node_queue(node, size)) == size
    assert size_of_queue(node_queue(node)) == "standard"


def test_a_farm_without_sizes_has_the_queues_of_before():
    assert farm_kinds(Settings()) == node_kinds(Settings()) == Settings().classes


def test_a_node_serves_the_sizes_that_it_names_in_the_classes_that_it_names():
    settings = Settings(sizes=SIZES, node_sizes="large", node_classes="bulk")
    assert node_kinds(settings) == {"bulkXlarge": 1}
    assert farm_kinds(settings) == {
        "interactive": 4, "bulk": 1, "interactiveXlarge": 4, "bulkXlarge": 1, "interactiveXhuge": 4, "bulkXhuge": 1
    }  # fmt: skip


class Room:
    def __init__(self, *fits):
        self.fits, self.came = set(fits), []

    def fitting(self):
        return self.fits

    def took(self, size):
        self.came.append(size)


def test_a_node_asks_only_the_queues_of_sizes_that_fit():
    kinds = {"a": 1, "aXlarge": 1}
    room = Room("standard", "large")
    order = FairOrder(kinds, room)
    queues = [*queue_names(kinds, 2), node_queue("n"), node_queue("n", "large")]
    order.update(queues)
    assert set(order.consume(99)) == set(queues)
    order.rotate("build.aXlarge.1")
    order.rotate("build.submit")
    assert room.came == ["large"]
    room.fits = {"standard"}
    assert {size_of_queue(queue) for queue in order.consume(99)} == {"standard", ""}
    assert not order.is_outdated()
    room.fits = {"standard", "large"}
    assert order.is_outdated()  # the pop that waits would not hear of a large build
    order.consume(99)
    assert not order.is_outdated()


def test_the_next_size_is_the_smallest_larger_one_that_can_be_used():
    sizes = sizes_of(Settings(sizes=SIZES))
    assert larger(sizes, "standard", {"standard", "large", "huge"}) == "large"
    assert larger(sizes, "standard", {"huge"}) == "huge"
    assert larger(sizes, "huge", {"standard", "large", "huge"}) == ""
    assert larger(sizes, "standard", set()) == ""


def request(**fields):
    return BuildRequest(tenant="t", app="a", source=GitSource(url="https://example.org/a.git"), **fields)


@pytest.mark.parametrize("marks", ["", "+variables", "+variables+credentials", "+credentials+lfs"])
@pytest.mark.parametrize("size", [None, "large"])
def test_an_older_node_cannot_read_a_clean_request_and_this_one_can(marks, size):
    text = _stored(request(clean=True, size=size), marks=marks)
    assert '"run_policy":"latest_queued+clean' in text
    build = decode({"id": "b", "state": "queued", "submitted_at": "1", "queue": "build.bulk.3", "request": text})
    assert (build.request.clean, build.request.run_policy, build.request.size) == (True, "latest_queued", size)
    assert "clean" not in _stored(request())  # as versions before wrote it


def test_a_request_of_the_standard_size_is_stored_as_versions_before_wrote_it():
    assert "size" not in _stored(request())
    assert '"run_policy":"latest_queued"' in _stored(request())


@pytest.mark.parametrize(
    "marks", ["", "+variables", "+credentials", "+variables+credentials", "+variables+credentials+lfs"]
)
def test_an_older_node_cannot_read_a_request_for_another_size_and_this_one_can(marks):
    text = _stored(request(size="large"), marks=marks)
    assert '"run_policy":"latest_queued+size' in text
    build = decode(
        {"id": "b", "state": "queued", "submitted_at": "1", "queue": "build.bulkXlarge.3", "request": text}
    )  # fmt: skip
    assert (build.build_class, size_of(build.request), build.request.run_policy) == ("bulk", "large", "latest_queued")

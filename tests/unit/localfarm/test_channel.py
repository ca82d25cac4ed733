"""The tag by which images name their base, when a local farm comes up."""

from __future__ import annotations

import pytest

from localfarm.beginnings import ensure_channel
from testkit.registry.builder import push_builder, push_patched


@pytest.fixture
def builders(registry):
    small = push_builder(registry)
    return [push_patched(registry, small, {name: name}, "2026-01-01T00:00:00Z") for name in ("first", "second")]


def stable(registry):
    return f"builder@{registry.get_manifest('builder', 'stable')[2]}"


@pytest.mark.parametrize("promoted", [1, "", "elsewhere@sha256:" + "0" * 64, "builder@sha256:" + "0" * 64])
def test_a_farm_of_an_older_version_gets_the_tag_for_what_was_promoted(registry, builders, promoted):
    named = builders[promoted] if promoted == 1 else promoted
    ensure_channel(registry, builders[0], lambda: named, new=False)
    assert stable(registry) == builders[1 if promoted == 1 else 0]
    ensure_channel(registry, builders[1], lambda: builders[1], new=False)  # it is there: a promotion moves it
    assert stable(registry) == builders[1 if promoted == 1 else 0]


def test_it_follows_a_builder_that_is_new(registry, builders):
    ensure_channel(registry, builders[0], lambda: "", new=True)
    ensure_channel(registry, builders[1], lambda: builders[0], new=True)
    assert stable(registry) == builders[1]

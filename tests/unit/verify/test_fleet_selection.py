"""The real apps of `make verify-fleet`."""

from __future__ import annotations

import pytest

from testkit.apps.samples import read_apps
from verify.fleet.selection import SELECTED, SSL, folders

SAMPLES = {one.label: one for one in read_apps()}


def test_there_are_40_apps_with_sources_of_their_own():
    with folders(40) as found:
        assert len(found) == 40
        assert len(set(found.values())) == 40
        assert all(any(path.iterdir()) for path in found.values())


def test_fewer_begin_with_those_that_use_libssl_and_one_of_each_quick_family():
    with folders(13) as found:
        kinds = {name.partition("-")[0] for name in found} - {"ssl"}
        assert {*SSL} < {*found}
    assert kinds == {one.family for one in SAMPLES.values()} - {"go", "rust"}


@pytest.mark.parametrize("label", [one for one in SELECTED if not one.startswith("examples/")])
def test_each_answers_at_its_root_without_variables(label):
    app = SAMPLES[label]
    assert app.answers
    assert (app.process, app.path) == ("web", "/")
    assert not (app.needs or app.env)

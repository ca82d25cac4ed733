"""The best few of the test apps, each from its source to its answer; `make verify-apps` tries all of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from testkit.apps.samples import read_apps
from testkit.apps.trials import try_app
from testkit.buildpacks import run_image, succeeded

QUICK = [app for app in read_apps() if app.quick]
AT_A_TIME = 3


@pytest.fixture(scope="module")
def trials(built):
    """All of them, begun a few at a time; a test waits for its own."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {app.label: pool.submit(try_app, built, app) for app in QUICK}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("label", [app.label for app in QUICK])
def test_an_app_answers_cold_and_after_a_change_and_twice_with_the_same_image(trials, label):
    assert not trials[label].result().problems


def test_an_image_without_a_process_type_says_so_in_the_result_in_the_log_and_when_it_is_run(built, pack, app):
    build = built(app(), "no-process", buildpacks=[pack()])
    sentence = "add a Procfile with the line `web: COMMAND`"
    assert sentence in succeeded(built, build).warning
    assert sentence in built.log(build).splitlines()[-1]
    assert "it cannot start: add a Procfile" in run_image(built, build)

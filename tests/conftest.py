"""How files of tests are shared out among pytest's workers: the longest start first, so that none is left over."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

# `make test` says whether a change is right, so its generated data is the same each time. `make unit` and `make strict`
# explore.
_EXPLORES = "BUILDFARM_TESTS_NEED_SERVICES" not in os.environ or "BUILDFARM_TESTS_STRICT" in os.environ
# A busy machine takes longer than 200 ms for an example, and than a second to make some.
settings.register_profile(
    "the farm's", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=not _EXPLORES
)
settings.load_profile("the farm's")

HERE = Path(__file__).parent
RECORDED = HERE / "seconds.txt"
ROUND_SECONDS = 5  # files below it are not recorded
UNKNOWN_SECONDS = {"unit": 1.0}  # of a file that is not recorded, by its folder; any other one may take longer
OTHER_SECONDS = 20.0
# There is one network of simulated machines, so the tests that use it cannot run side by side.
CLUSTER = "the cluster"
IN_CLUSTER = ("tests/faults/", "tests/integration/test_second_engine.py")


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # pytest-xdist ships no annotations
    """A worker gets a file at a time, or all files that use the cluster, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """The name of what one worker runs as a whole."""
    return CLUSTER if nodeid.startswith(IN_CLUSTER) else nodeid.partition("::")[0]


def read_seconds() -> dict[str, float]:
    """Seconds by file, as they were recorded."""
    lines = [line.split(maxsplit=1) for line in RECORDED.read_text().splitlines()]
    return {file: float(seconds) for seconds, file in lines}


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """The same tests, those of the longest groups first."""
    recorded, seconds = read_seconds(), defaultdict[str, float](float)
    for file in dict.fromkeys(item.nodeid.partition("::")[0] for item in items):
        seconds[group_of(file)] += recorded.get(file, UNKNOWN_SECONDS.get(file.split("/")[1], OTHER_SECONDS))
    return sorted(items, key=lambda item: (-seconds[group_of(item.nodeid)], group_of(item.nodeid)))


class Recorder:
    """Writes how long each file took in all; those that did not run keep their line."""

    def __init__(self) -> None:
        self.seconds = defaultdict[str, float](float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid.partition("::")[0]] += report.duration

    def pytest_sessionfinish(self) -> None:
        known = {file: seconds for file, seconds in read_seconds().items() if (HERE.parent / file).exists()}
        rows = sorted((-seconds, file) for file, seconds in {**known, **self.seconds}.items())
        RECORDED.write_text("".join(f"{-s:.0f} {file}\n" for s, file in rows if -s >= ROUND_SECONDS))


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("BUILDFARM_TESTS_RECORD") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items[:] = in_order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # which starts files with many tests first
    return ByFile(config, log)

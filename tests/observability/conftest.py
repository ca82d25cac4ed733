"""A live farm with real builds, and the real programs that look at it: Prometheus and Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from buildfarm.errors import BuildfarmError
from buildfarm.farm import open_farm
from buildfarm.settings import read_settings
from localfarm.packages import ensure_packages
from testkit.live import Live, live_farm
from testkit.observability import browser, prometheus


@pytest.fixture(scope="session")
def programs() -> None:
    """Prometheus and Chromium. Without services, tests are skipped at home and fail where services are promised."""
    settings = read_settings()
    try:
        with open_farm(settings) as farm:
            farm.registry.ping()
            farm.records.queued_count()
    except BuildfarmError as error:
        if os.environ.get("BUILDFARM_TESTS_NEED_SERVICES"):
            raise
        pytest.skip(f"{error.message} Start them: buildfarm up --no-worker")
    ensure_packages({**prometheus.PROGRAMS, **browser.PROGRAMS}, print)
    browser.ensure_fonts(print)


@pytest.fixture(scope="session")
def live(programs: None) -> Iterator[Live]:
    """One farm for all tests here."""
    with live_farm() as found:
        yield found


@pytest.fixture(scope="session")
def chromium(programs: None) -> Iterator[Browser]:
    with browser.chromium() as found:
        yield found

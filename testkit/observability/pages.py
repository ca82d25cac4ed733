"""Every page of the farm, visited: pictures are kept, and axe-core says what WCAG 2.2 AA does not allow."""

from __future__ import annotations

import os
from pathlib import Path

from buildfarm.model import Build
from testkit.live import Live
from testkit.observability.browser import Window

SHOTS = Path(os.environ.get("BUILDFARM_SHOTS", "build/shots"))


def sign_in(tab: Window, url: str, token: str) -> None:
    """Opens the list of builds."""
    tab.page.goto(f"{url}/")
    tab.page.fill("input[name=token]", token)
    tab.page.click("main button.primary")
    tab.page.wait_for_selector("#builds")


def visit_all(tab: Window, live: Live, token: str, name: str) -> list[str]:
    """Violations, each with the page it is on."""
    found: list[str] = []

    def look(page: str) -> None:
        tab.page.wait_for_load_state("load")
        tab.shoot(f"{page}-{name}")
        found.extend(f"{page}: {violation}" for violation in tab.violations())

    tab.page.goto(f"{live.api.url}/sign-in")
    look("sign-in")
    sign_in(tab, live.api.url, token)
    look("builds")
    for page in ("queue", "nodes", "submit"):
        tab.page.goto(f"{live.api.url}/{page}")
        look(page)
    for build in one_of_each_state(live):
        tab.page.goto(f"{live.api.url}/builds/{build.id}")
        tab.page.get_by_text("complete, ").wait_for(timeout=20_000)
        look(f"build-{build.state}")
    return found


def one_of_each_state(live: Live) -> list[Build]:
    """Ended builds, one of each end; they are made if there are none."""
    if not live.farm.recent(1):
        live.exercise()
    states = {build.state: build for build in reversed(live.farm.recent(200)) if build.state.final}
    return list(states.values())

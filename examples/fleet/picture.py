"""A picture of the page, if there is a browser."""

from __future__ import annotations

from pathlib import Path

from localfarm.packages import find_program
from testkit.live import Live


def take_picture(live: Live, rollout_id: str, path: Path) -> str:
    """Keeps a picture of the rollout's page; returns where it is, or why there is none."""
    if find_program("chromium") is None:
        return "There is no picture of the page: no chromium here."
    from testkit.observability.browser import chromium, window  # noqa: PLC0415 - only where there is a browser
    from testkit.observability.pages import sign_in  # noqa: PLC0415

    token = live.api.token(None, "read")
    with chromium() as browser, window(browser, path.parent) as tab:
        sign_in(tab, live.api.url, token)
        tab.page.goto(f"{live.api.url}/rollouts/{rollout_id}")
        tab.shoot(path.stem)
    return f"A picture of the page: {path}"

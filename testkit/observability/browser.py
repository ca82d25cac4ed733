"""A real browser (the distribution's chromium) on the page, with axe-core for WCAG and an eye on its console."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from localfarm.packages import ensure_packages, find_program
from testkit.observability.prometheus import Drawn

PROGRAMS = {"chromium": "chromium", "fc-list": "fontconfig"}
FONTS = "fonts-dejavu-core"
_RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
_COLOURS = ("#0a58ca", "#b35900", "#1a7f37", "#8250df", "#b62565", "#0f7d8c", "#57606a", "#a40e26")


@dataclass
class Window:
    """A tab, and what went wrong in it."""

    page: Page
    shots: Path
    complaints: list[str] = field(default_factory=list)

    def shoot(self, name: str) -> None:
        """Keeps a picture of the whole page."""
        self.page.screenshot(path=self.shots / f"{name}.png", full_page=True)

    def violations(self) -> list[str]:
        """What WCAG 2.2 AA does not allow, by axe-core."""
        found: Any = Axe().run(self.page, options=_RULES).response
        return [
            f"{one['id']}: {node['html'][:120]} {node['any'][0]['message'][:160] if node['any'] else ''}"
            for one in found["violations"]
            for node in one["nodes"]
        ]


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser for the length of the block."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=find_program("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(browser: Browser, shots: Path, *, dark: bool = False, phone: bool = False) -> Iterator[Window]:
    """A separate tab, without the cookies of others."""
    shots.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(
        viewport={"width": 390, "height": 844} if phone else {"width": 1280, "height": 900},
        color_scheme="dark" if dark else "light",
    )
    try:
        page = context.new_page()
        found = Window(page, shots)
        page.on("console", lambda said: found.complaints.append(said.text) if _is_complaint(said) else None)
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        yield found
    finally:
        context.close()


def _is_complaint(said: ConsoleMessage) -> bool:
    """Other tests make and remove bridges, which ends requests of this browser; the page has to bear that."""
    return said.type in ("error", "warning") and "ERR_NETWORK_CHANGED" not in said.text


def draw_panels(browser: Browser, drawn: list[Drawn], shots: Path) -> Path:
    """Every panel's answer as a drawing, for a look. It shows the query and its shape, not how Grafana draws it."""
    shots.mkdir(parents=True, exist_ok=True)
    path = shots / "panels.png"
    with window(browser, shots) as tab:
        tab.page.set_content(f"<style>{_STYLE}</style>{''.join(_panel(one) for one in drawn)}")
        tab.page.screenshot(path=path, full_page=True)
    return path


_STYLE = (
    "body{font:12px sans-serif;display:grid;grid-template-columns:repeat(4,1fr);gap:10px}"
    "figure{margin:0;border:1px solid #ccc;padding:6px}figcaption{font-weight:bold}small{color:#555}"
)


def _panel(drawn: Drawn) -> str:
    finite = [[(at, value) for at, value in points if math.isfinite(value)] for points in drawn.series.values()]
    points = [point for series in finite for point in series]
    head = f"<figcaption>{drawn.board}: {drawn.panel}</figcaption>"
    if not points:
        return f"<figure>{head}<b style='color:red'>nothing {drawn.error}</b></figure>"
    starts, ends = min(at for at, _ in points), max(at for at, _ in points)
    top = max(1e-9, *(value for _, value in points))
    across, up = 280 / max(ends - starts, 1), 95 / top
    lines = ""
    for number, series in enumerate(finite):
        path = " ".join(f"{(at - starts) * across:.1f},{100 - value * up:.1f}" for at, value in series)
        lines += f'<polyline fill="none" stroke="{_COLOURS[number % len(_COLOURS)]}" points="{path}"/>'
    told = f"at most {top:.4g}, {len(finite)} series"
    return f'<figure>{head}<svg width="280" height="102">{lines}</svg><small>{told}</small></figure>'


def ensure_fonts(say: Callable[[str], None]) -> None:
    """Letters to draw with: a machine without a desktop has none."""
    listed = subprocess.run(["fc-list"], capture_output=True, text=True, check=False).stdout
    if "DejaVu" not in listed:
        ensure_packages({"buildfarm-no-such-program": FONTS}, say)

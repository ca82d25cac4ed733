"""The pages of apps, of two builds, of a search and of settings in a real browser: links, forms, keyboard, WCAG AA."""

from __future__ import annotations

import re
import time

import pytest

from testkit.builds import farm_alone, promised
from testkit.observability.browser import window
from testkit.observability.many_apps import pages_of, seed
from testkit.observability.pages import SHOTS, sign_in
from testkit.serving import serving


@pytest.fixture(scope="module")
def many(programs):
    with farm_alone("pages") as farm:
        yield farm, seed(farm, apps=60, builds=300)


@pytest.fixture(scope="module")
def api(many):
    farm, _ = many
    with serving(farm) as api:
        yield api


@pytest.fixture(scope="module")
def token(api):
    return api.token(None, "read", "submit", "admin")


@pytest.fixture
def tab(api, chromium, token):
    with window(chromium, SHOTS) as tab:
        sign_in(tab, api.url, token)
        yield tab
        assert tab.complaints == []


# `make verify-observability` takes pictures of the app's and the build's page in all four.
@pytest.mark.parametrize("dark_phone", [False, True], ids=["light-desktop", "dark-phone"])
def test_each_page_keeps_wcag_aa_and_fits_the_screen(api, chromium, many, token, dark_phone):
    found = []
    with window(chromium, SHOTS, dark=dark_phone, phone=dark_phone) as tab:
        sign_in(tab, api.url, token)
        for name, path in pages_of(many[1]).items():
            tab.page.goto(f"{api.url}{path}")
            tab.shoot(f"{name}-{'dark-phone' if dark_phone else 'light-desktop'}")
            found += [f"{name}: {violation}" for violation in tab.violations()]
            beyond = tab.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            found += [f"{name} is {beyond} pixels too wide"] * (beyond > 0)
            header = tab.page.locator("header.bar").bounding_box()["height"]
            found += [f"{name} has a header of several lines: {header} pixels"] * (not dark_phone and header > 70)
        assert tab.complaints == []
    assert found == []


def kind_of(path):
    """Links that differ in ids and positions alone lead to the same page."""
    return re.sub(r"[0-9a-f]{8,}|\d+", "*", path.partition("after=")[0])


def test_every_kind_of_link_leads_somewhere(api, tab, many):
    _, there = many
    seen, waiting = {}, ["/apps", *pages_of(there).values()]
    while waiting:
        path = waiting.pop(0)
        if kind_of(path) in seen:
            continue
        seen[kind_of(path)] = path
        assert tab.page.goto(f"{api.url}{path}").status == 200, path
        links = tab.page.eval_on_selector_all("a[href^='/']", "all => all.map(one => one.getAttribute('href'))")
        # Other apps' builds are copies, which are in no pack.
        waiting += [link for link in links if there.tenant in link or not link.startswith(("/builds/", "/apps/"))]
    assert {"/", "/apps", "/apps?", "/queue", "/nodes", "/limits", "/retention", "/tokens", "/submit"} <= seen.keys()
    assert any(kind.startswith("/compare") for kind in seen)


def test_two_builds_are_compared_with_the_keyboard(api, tab, many):
    _, there = many
    tab.page.goto(f"{api.url}/apps/{there.tenant}/{there.live}")
    made = [build for build in there.builds if build.result]
    tab.page.focus(f"input[name=b][value='{made[0].id}']")
    tab.page.focus(f"input[name=a][value='{made[1].id}']")
    for _ in range(20):
        tab.page.keyboard.press("ArrowDown")
    chosen = tab.page.locator("input[name=a]:checked").get_attribute("value")
    assert chosen == made[21].id
    tab.page.focus("#compare button")
    tab.page.keyboard.press("Enter")
    tab.page.get_by_text("Buildpacks: 1 newer: nodejs.").wait_for()
    summary = tab.page.locator("section[aria-label=Summary]").inner_text()
    assert "layer app +" in summary.lower() or "layer node_modules +" in summary.lower()
    assert chosen in summary


def test_from_a_slow_build_to_what_took_longer_in_two_clicks(api, tab, many):
    _, there = many
    newest = next(build for build in there.builds if build.result)
    tab.page.goto(f"{api.url}/builds/{newest.id}")
    started = time.monotonic()
    tab.page.get_by_role("link", name=f"All builds of {there.live}").click()
    tab.page.get_by_role("button", name="Compare the chosen two").click()
    summary = tab.page.locator("section[aria-label=Summary]").inner_text()
    assert time.monotonic() - started < promised(2)
    assert newest.id in summary
    assert re.search(r"(slower|faster): compile", summary), summary


def test_an_app_is_found_from_every_page(api, tab, many):
    _, there = many
    tab.page.goto(f"{api.url}/queue")
    tab.page.focus(".find input")
    tab.page.keyboard.type("archiv")
    tab.page.keyboard.press("Enter")
    tab.page.get_by_role("link", name=f"{there.tenant}/{there.archived}", exact=True).click()
    tab.page.get_by_role("heading", name=f"{there.tenant}/{there.archived}").wait_for()
    digest = next(build for build in there.builds if build.result).result.digest
    tab.page.fill(".find input", str(digest)[:20])
    tab.page.keyboard.press("Enter")
    tab.page.get_by_text(str(digest)).wait_for()


def test_the_chart_is_a_table_too(api, tab, many):
    _, there = many
    tab.page.goto(f"{api.url}/apps/{there.tenant}/{there.live}")
    assert tab.page.locator("svg.phases rect").count() > 50
    tab.page.get_by_text("As a table").click()
    rows = tab.page.locator("section[aria-label='Phases of builds'] tbody tr")
    assert rows.count() == len([build for build in there.builds[:50] if build.result])
    assert rows.first.is_visible()


def test_an_image_that_is_gone_is_not_rolled_back_to(api, tab, many):
    _, there = many
    tab.page.goto(f"{api.url}/apps/{there.tenant}/{there.live}")
    ask = tab.page.locator("details.ask").first
    assert not ask.locator("button").is_visible()
    ask.locator("summary").press("Enter")
    ask.locator("button").press("Enter")
    tab.page.get_by_text("cannot be used again: the registry no longer has it").wait_for()
    tab.complaints[:] = [said for said in tab.complaints if "422" not in said]  # the browser's own word for it


def test_settings_are_changed_and_a_token_is_revoked(api, tab, many):
    farm, there = many
    tab.page.goto(f"{api.url}/limits")
    tab.page.fill("input[name=owner]", there.tenant)
    tab.page.fill("input[name=running]", "7")
    tab.page.click("form.stack button.primary")
    tab.page.locator("tbody").get_by_role("link", name=there.tenant, exact=True).wait_for()
    assert farm.limits_set() == {f"{there.tenant}:running": 7}
    tab.page.get_by_role("link", name="Retention").click()
    tab.page.wait_for_url("**/retention")
    tab.page.fill("input[name=owner]", there.tenant)
    tab.page.fill("input[name=images]", "1.5")
    with tab.page.expect_response(lambda answer: answer.request.method == "POST") as posted:
        tab.page.click("form.stack button.primary")
    assert posted.value.status == 422
    tab.page.get_by_text("It was not changed").wait_for()
    assert tab.page.input_value("input[name=images]") == "1.5"
    api.token("shop", "submit")
    tab.page.get_by_role("link", name="Tokens").click()
    row = tab.page.locator("tr", has_text="shop")
    row.locator("summary").click()
    row.locator("button").click()
    row.wait_for(state="detached")
    tab.complaints[:] = [said for said in tab.complaints if "422" not in said]

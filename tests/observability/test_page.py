"""The page in a real browser: submit, watch the log grow, cancel, see where the time went, in light and in dark."""

from __future__ import annotations

import subprocess

import httpx
import pytest

from buildfarm.model import State
from testkit.observability.browser import window
from testkit.observability.pages import SHOTS, sign_in, visit_all


@pytest.fixture(scope="module")
def token(live):
    return live.api.token(None, "read", "submit", "admin")


@pytest.fixture
def tab(live, chromium, token):
    with window(chromium, SHOTS) as tab:
        sign_in(tab, live.api.url, token)
        yield tab
        assert tab.complaints == []


def archive(directory, files):
    directory.mkdir()
    for name, text in files.items():
        (directory / name).write_text(text)
    path = directory.parent / "app.tar.gz"
    subprocess.run(["tar", "-C", directory, "-czf", path, "."], check=True)
    return path


def submit(tab, live, path, app, tenant="shop"):
    tab.page.goto(f"{live.api.url}/submit")
    tab.page.fill("input[name=tenant]", tenant)
    tab.page.fill("input[name=app]", app)
    tab.page.set_input_files("input[name=file]", path)
    tab.page.click("form.card button.primary")
    tab.page.wait_for_selector("#build")
    return tab.page.url.rpartition("/")[2]


def test_a_build_is_submitted_watched_and_explained(live, tab, tmp_path):
    lines = "".join(f"echo line {number}; sleep 0.15\n" for number in range(40))
    path = archive(tmp_path / "app", {"Procfile": "web: true", "package.json": '{"scripts": {"build": "sh build.sh"}}',
                                      "build.sh": lines})  # fmt: skip
    build_id = submit(tab, live, path, "watched")
    log = tab.page.locator(".log")
    log.get_by_text("line 3", exact=False).first.wait_for(timeout=60_000)
    count = "Number(document.querySelector('#log-status').textContent.match(/(\\d+) lines/)[1])"
    tab.page.wait_for_function(f"seen => {count} > seen + 5", arg=tab.page.evaluate(count))
    assert live.farm.get(build_id).state is State.RUNNING
    assert tab.page.locator("svg.waterfall rect.now").count() == 1
    tab.shoot("running")
    tab.page.locator(".pill.succeeded").wait_for(timeout=60_000)
    tab.page.get_by_text("complete, ").wait_for()
    texts = log.locator(".t").all_inner_texts()
    assert [text for text in texts if "line " in text and "echo" not in text][-1].strip() == "line 39"
    names = tab.page.locator("svg.waterfall text:not(.seconds)").all_text_contents()
    assert names == ["queue", "prepare", "detect", "compile", "export", "publish"]
    assert tab.page.locator("section[aria-label=Layers] tbody tr").count() >= 2
    assert tab.page.locator("dt:text-is('Buildpacks') + dd").inner_text().split()[0] == "nodejs"
    tab.shoot("succeeded")


def test_a_running_build_is_cancelled(live, tab, tmp_path):
    path = archive(
        tmp_path / "app", {"package.json": '{"scripts": {"build": "echo begun; sleep 100"}}', "Procfile": "web: x"}
    )
    build_id = submit(tab, live, path, "cancelled")
    tab.page.locator(".log").get_by_text("begun", exact=True).wait_for(timeout=60_000)
    tab.page.click("#cancel")
    tab.page.locator(".pill.cancelled").wait_for(timeout=20_000)
    assert live.farm.get(build_id).state is State.CANCELLED
    tab.shoot("cancelled")


def test_a_failure_is_told_in_plain_words(live, tab):
    build = live.submit_bad("acme", "broken")
    live.farm.wait(build.id, timeout_seconds=60)
    tab.page.goto(f"{live.api.url}/builds/{build.id}")
    tab.page.get_by_text("The app could not be built").wait_for()
    assert tab.page.get_by_text("app.source").is_visible()
    tab.shoot("failed")


def test_a_list_is_live(live, tab):
    tab.page.goto(f"{live.api.url}/")
    build = live.submit("static", "shop", "live")
    tab.page.locator(f"#b-{build.id}").wait_for(timeout=20_000)
    live.farm.wait(build.id, timeout_seconds=60)


def test_a_class_that_started_nothing_has_no_share(live, tab):
    build = live.submit("static", "shop", "share")
    live.farm.wait(build.id, timeout_seconds=60)
    tab.page.goto(f"{live.api.url}/queue")
    classes = tab.page.locator("section[aria-label='By class'] tbody tr")
    cells = {row.locator("td").first.inner_text(): row.locator("td").last for row in classes.all()}
    assert cells["interactive"].inner_text().strip() == "100 %"
    assert cells["interactive"].locator("meter").count() == 1
    assert cells["bulk"].inner_text() == ""
    assert cells["bulk"].locator("meter").count() == 0
    tab.shoot("queue-share")


def test_what_a_build_prints_is_never_markup(live, tab, tmp_path):
    evil = "<img src=x onerror=alert(1)><b>bold</b>"
    path = archive(
        tmp_path / "app",
        {"package.json": '{"scripts": {"build": "cat evil"}}', "evil": evil + "\n", "Procfile": "web: x"},
    )
    submit(tab, live, path, "markup")
    tab.page.locator(".log").get_by_text(evil).wait_for(timeout=60_000)
    assert tab.page.locator(".log img, .log b").count() == 0


def test_bad_input_is_told_and_kept(live, tab):
    tab.page.goto(f"{live.api.url}/submit")
    tab.page.fill("input[name=tenant]", "shop")
    tab.page.fill("input[name=app]", "Not A Name")
    tab.page.fill("input[name=git]", "https://git.example.org/a.git")
    with tab.page.expect_response(lambda answer: answer.request.method == "POST") as posted:
        tab.page.click("form.card button.primary")
    assert posted.value.status == 422
    tab.page.get_by_text("It was not accepted").wait_for()
    assert tab.page.input_value("input[name=app]") == "Not A Name"
    tab.complaints[:] = [said for said in tab.complaints if "422" not in said]  # the browser's own word for it


def test_keyboard_alone_is_enough(live, chromium, token):
    with window(chromium, SHOTS) as tab:
        tab.page.goto(f"{live.api.url}/")
        # The focus moves when the page is first drawn, which may be after its loading: keys before that are lost.
        field = tab.page.locator("input[name=token]:focus")
        field.wait_for()
        tab.page.keyboard.type(token)
        assert field.input_value() == token
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector("#builds")
        tab.page.keyboard.press("Tab")
        assert tab.page.evaluate("document.activeElement.textContent") == "Skip to content"


def test_a_stranger_sees_nothing(live, chromium):
    with window(chromium, SHOTS) as tab:
        tab.page.goto(f"{live.api.url}/builds/0123456789abcdef")
        assert "/sign-in" in tab.page.url
        tab.page.fill("input[name=token]", "bf_0123456789abcdef_" + "x" * 43)
        tab.page.click("main button.primary")
        tab.page.get_by_text("does not give access to the page").wait_for()


def test_a_tenant_sees_its_own(live, chromium):
    other = live.submit_bad("acme", "secret")
    with window(chromium, SHOTS) as tab:
        sign_in(tab, live.api.url, live.api.token("shop", "read"))
        assert tab.page.locator(f"#b-{other.id}").count() == 0
        assert tab.page.get_by_role("link", name="New build").count() == 0
        assert tab.page.goto(f"{live.api.url}/builds/{other.id}").status == 404
        assert tab.page.goto(f"{live.api.url}/nodes").status == 403
        assert tab.page.goto(f"{live.api.url}/submit").status == 403


# `make verify-observability` tries all four.
@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, True)], ids=["light-desktop", "dark-phone"])
def test_every_page_keeps_wcag_aa(live, chromium, token, dark, phone):
    with window(chromium, SHOTS, dark=dark, phone=phone) as tab:
        found = visit_all(tab, live, token, f"{'dark' if dark else 'light'}-{'phone' if phone else 'desktop'}")
        assert found == []
        assert tab.complaints == []


def test_the_form_takes_no_other_sites_word(live, token):

    with httpx.Client(base_url=live.api.url, trust_env=False, timeout=30) as browser:
        assert browser.post("/sign-in", data={"token": token}).status_code == 303
        forged = {"Origin": "https://evil.example.org", "Sec-Fetch-Site": "cross-site"}
        assert browser.post("/builds/0123456789abcdef/cancel", headers=forged).status_code == 403
        assert browser.post("/sign-in", data={"token": token, "next": "//evil.example.org"}).headers["location"] == "/"

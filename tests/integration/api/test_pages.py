"""The pages of apps, of two builds, of a search and of settings, without a browser: who sees what, what is there."""

from __future__ import annotations

import re
from contextlib import contextmanager

import httpx
import pytest

from buildfarm.access import Audit, Scope, Tokens
from buildfarm.model import BuildRequest, ImageRequest
from buildfarm.sources.address import GitSource
from testkit.archive import SOURCE, Life
from testkit.serving import serving


@pytest.fixture(scope="module")
def api(module_farm):
    with serving(module_farm) as api:
        yield api


@pytest.fixture(scope="module")
def life(module_farm):
    return Life(module_farm)


@contextmanager
def browser(api, tenant, *scopes):
    """A browser in which a token is signed in."""
    with httpx.Client(base_url=api.url, trust_env=False, timeout=30) as found:
        assert found.post("/sign-in", data={"token": api.token(tenant, *scopes)}).status_code == 303
        yield found


def links(text, pattern):
    return [link.replace("&amp;", "&") for link in re.findall(rf'href="({pattern})"', text)]


def test_the_list_of_apps_is_followed_to_its_end(api, life):
    names = {f"listed-{number}" for number in range(27)}
    for app in names:
        life.end(app, lines=0)
    with browser(api, life.tenant, "read") as tab:
        found, page = set(), "/apps"
        while page:
            text = tab.get(page).text
            found |= {link.rpartition("/")[2] for link in links(text, '/apps/[^"]+')}
            page = next(iter(links(text, r"/apps\?[^\"]*after=[^\"]+")), "")
    assert names <= found


def test_a_tenant_sees_and_finds_only_its_own(api, life):
    own = life.end("own", lines=0)
    digest = str(life.farm.get(own).result.digest)
    life.farm.submit(BuildRequest(tenant="acme", app="hidden", source=GitSource(url="https://x/y")))
    with browser(api, "acme", "read") as tab:
        assert "/apps/acme/hidden" in tab.get("/apps").text
        assert life.tenant not in tab.get("/apps").text
        assert tab.get(f"/apps/{life.tenant}/own").status_code == 404
        assert tab.get("/apps/acme/absent").status_code == 404
        life.farm.database.client.hset(life.farm.database.key("tags"), "apps/acme/imported", f"sha256:{'1' * 64}")
        assert f"sha256:{'1' * 64}" in tab.get("/apps/acme/imported").text
        assert tab.get("/apps", params={"tenant": life.tenant}).status_code == 403
        assert own not in tab.get("/search", params={"q": digest}).text
        assert tab.get("/search", params={"q": own}).status_code == 200
        assert "Nothing was found" in tab.get("/search", params={"q": f"{life.tenant}/own"}).text
        assert tab.get("/compare", params={"a": own, "b": own}).status_code == 404
        for page in ("/limits", "/retention", "/tokens"):
            assert tab.get(page).status_code == 403
            assert tab.post(page if page != "/tokens" else f"/tokens/{'0' * 16}/revoke", data={}).status_code == 403
    with browser(api, life.tenant, "read") as tab:
        for text in (digest, digest[7:20], f"registry.example.org/apps/x/y@{digest}"):
            assert f"/builds/{own}" in tab.get("/search", params={"q": text}).text
        answer = tab.get("/search", params={"q": f" {own} "})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/builds/{own}")
        assert f"/apps/{life.tenant}/own" in tab.get("/search", params={"q": "OWN"}).text
        assert tab.get("/search", params={"q": "<script>"}).text.count("<script>") == 0


def test_the_farms_own_images_have_no_apps_page_to_link_to(api, module_farm):
    build = module_farm.submit(ImageRequest(image="redis", version="7.2", source=SOURCE)).id
    module_farm.cancel(build)
    with browser(api, None, "read") as tab:
        text = tab.get("/compare", params={"a": build, "b": build}).text
    assert 'href="/?app=images/redis' in text
    assert "/apps/images" not in text


def test_an_app_goes_back_into_the_archive(api, life):
    ids = [life.end("old", lines=0) for _ in range(30)]
    life.archive()
    ids += [life.end("old", lines=0) for _ in range(30)]
    with browser(api, life.tenant, "read") as tab:
        found, page = [], f"/apps/{life.tenant}/old"
        while page:
            text = tab.get(page).text
            found += re.findall(
                r'<td><a class="mono" href="/builds/(\w+)"', text.split('aria-label="Table of builds"')[1]
            )
            page = next(iter(links(text, r"/apps/[^\"]+after=[^\"]+")), "")
        assert found == ids[::-1]
        text = tab.get("/compare", params={"a": ids[0], "b": ids[-1]}).text
        assert "The source is the same." in text
        assert tab.get("/compare", params={"a": ids[0]}).status_code == 422
        assert tab.get("/apps", params={"after": "x"}).status_code == 422
        assert "rollback" not in tab.get(f"/apps/{life.tenant}/old").text


def test_limits_and_retention_are_set_and_taken_back(api, life, module_farm):
    with browser(api, None, "read", "admin") as tab:
        assert tab.post("/limits", data={"owner": "shop", "running": "3", "bytes": "5,000"}).status_code == 303
        assert module_farm.limits_set() == {"shop:running": 3, "shop:bytes": 5000}
        assert 'value="3"' in tab.get("/limits", params={"owner": "shop"}).text
        wrong = tab.post("/limits", data={"owner": "shop", "running": "lots"})
        assert wrong.status_code == 422
        assert 'value="lots"' in wrong.text
        assert tab.post("/limits", data={"owner": "shop/web", "waiting": "3"}).status_code == 422
        assert tab.post("/limits", data={"owner": "shop", "running": "0"}).status_code == 422
        blank = {"running": "", "waiting": "", "bytes": ""}
        assert tab.post("/limits", data={"owner": "shop", "shown": "", **blank}).status_code == 422
        moved = {"owner": "shop", "shown": "other", **blank, "waiting": "9"}
        assert tab.post("/limits", data=moved).status_code == 303
        assert module_farm.limits_set() == {"shop:running": 3, "shop:bytes": 5000, "shop:waiting": 9}
        assert 'name="shown" value="shop"' in tab.get("/limits", params={"owner": "shop"}).text
        assert tab.post("/limits", data={"owner": "shop", "shown": "shop", **blank}).status_code == 303
        assert module_farm.limits_set() == {}
        assert tab.post("/retention", data={"owner": "shop/web", "images": "4", "image_days": "0.5"}).status_code == 303
        assert module_farm.retention_set() == {"shop/web:images": 4, "shop/web:image_days": 0.5}
        assert "shop/web" in tab.get("/retention").text
        emptied = dict.fromkeys(["images", "image_days"], "")
        tab.post("/retention", data={"owner": "shop/web", "shown": "shop/web", **emptied})
        assert module_farm.retention_set() == {}
    with browser(api, None, "read") as tab:
        assert tab.get("/limits").status_code == 200
        assert tab.post("/limits", data={"owner": "shop", "running": "3"}).status_code == 403
        assert tab.post("/retention", data={"owner": "shop", "images": "3"}).status_code == 403
    verbs = [entry.verb for entry in Audit(module_farm.database).newest(50)]
    assert {"limits.set", "retention.set"} <= set(verbs)


def test_a_token_is_shown_without_its_secret_and_revoked(api, module_farm):
    text, token = Tokens(module_farm.database).make("shop", "ci", [Scope.SUBMIT], 1)
    with browser(api, None, "read", "admin") as tab:
        page = tab.get("/tokens").text
        assert token.id in page
        assert text.rpartition("_")[2] not in page
        assert tab.post(f"/tokens/{token.id}/revoke").status_code == 303
        assert tab.post(f"/tokens/{token.id}/revoke").status_code == 404
        assert token.id not in tab.get("/tokens").text
    assert Tokens(module_farm.database).verify(text) is None
    with browser(api, None, "read") as tab:
        assert "Revoke at once" not in tab.get("/tokens").text
        assert tab.post(f"/tokens/{token.id}/revoke").status_code == 403


def test_forms_of_other_sites_change_nothing(api, module_farm, life):
    forged = {"Origin": "https://evil.example.org", "Sec-Fetch-Site": "cross-site"}
    build_id = life.end("forged", lines=0)
    with browser(api, None, "read", "submit", "admin") as tab:
        for path in ("/limits", "/retention", f"/tokens/{'0' * 16}/revoke", f"/builds/{build_id}/rollback"):
            assert tab.post(path, data={"owner": "shop", "running": "3"}, headers=forged).status_code == 403
    assert module_farm.limits_set() == {}


def test_credentials_are_set_and_removed_on_the_page_and_never_shown(api, module_farm):
    place, secret = "/apps/shop/web/credentials", "canary-on-a-page-31"
    form = {"name": "deploy", "scope": "app", "kind": "token", "address": "git.example.org/me/", "value": secret}
    with browser(api, "shop", "read", "submit") as tab:
        assert tab.post(place, data=form).status_code == 303
        assert tab.post(place, data={**form, "name": "team", "scope": "tenant"}).status_code == 303
        page = tab.get(place).text
        assert ("git.example.org/me" in page, "all apps of shop" in page, secret in page) == (True, True, False)
        wrong = tab.post(place, data={**form, "kind": "ssh-key", "value": f"{secret}-wrong"})
        assert (wrong.status_code, "The credential deploy was not set" in wrong.text) == (422, True)
        assert secret not in wrong.text
        assert secret not in tab.post(place, data={**form, "kind": secret}).text
        public = {**form, "name": "open", "kind": "public", "value": "", "lfs": "yes"}
        assert tab.post(place, data=public).status_code == 303
        assert "public, with Git LFS" in tab.get(place).text
        assert tab.post(place, data={"remove": "yes", "name": "open", "scope": "app"}).status_code == 303
        assert tab.post(place, data={"remove": "yes", "name": "deploy", "scope": "app"}).status_code == 303
        assert tab.get("/apps/acme/web/credentials").status_code == 404
    with browser(api, "shop", "read") as tab:
        assert "Set or replace one" not in tab.get(place).text
        assert tab.post(place, data=form).status_code == 403
    assert [(one.name, one.app) for one in module_farm.credentials("shop")] == [("team", None)]
    assert ("credentials.remove", "shop/web deploy") in [
        (entry.verb, entry.object) for entry in Audit(module_farm.database).newest(5)
    ]

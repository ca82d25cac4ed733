"""Credentials over HTTP and on the command line: who may set them, and that nothing shows a value."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys

import pytest

from buildfarm.access import Audit
from buildfarm.client import Client
from buildfarm.errors import RequestError
from buildfarm.model import BuildRequest
from buildfarm.seal import Seal
from buildfarm.sources.address import GitSource
from buildfarm.sources.credentials import Kind, NewCredential
from buildfarm.store.keeping.credentials import CREDENTIALS_MAX, CredentialStore
from testkit.archive import SOURCE
from testkit.git_server.ssh_server import make_key
from testkit.queue.stored import all_stored
from testkit.serving import serving

CANARY = "canary-83c1d0aa"
HOST_KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()


@pytest.fixture(scope="module")
def api(module_farm):
    with serving(module_farm) as api:
        yield api


def body(name, app=None, tenant=None, **fields):
    credential = {"kind": "token", "address": "git.example.org/me/", "value": CANARY, **fields}
    return {"name": name, "tenant": tenant, "app": app, "credential": credential}


def test_a_tenant_sets_lists_and_removes_its_own(api):
    with api.as_("shop", "read", "submit") as tenant:
        assert tenant.put("/v1/credentials", json=body("team")).status_code == 200
        answer = tenant.put("/v1/credentials", json=body("own", "web", user="robot", submodules=True, lfs=True))
        assert [one["lfs"] for one in answer.json()] == [False, True]
        assert [(one["app"], one["name"], one["address"]) for one in answer.json()] == [
            (None, "team", "git.example.org/me"), ("web", "own", "git.example.org/me"),
        ]  # fmt: skip
        assert CANARY not in answer.text + tenant.get("/v1/credentials").text
        assert tenant.put("/v1/credentials", json=body("own", tenant="other")).status_code == 403
        assert tenant.get("/v1/credentials?tenant=other").status_code == 403
        removed = tenant.put("/v1/credentials", json={"name": "team", "credential": None})
        assert [one["name"] for one in removed.json()] == ["own"]
        assert tenant.put("/v1/credentials", json={"name": "team", "credential": None}).status_code == 422
    deeds = [(entry.verb, entry.object) for entry in Audit(api.farm.database).newest(6)]
    assert ("credentials.set", "shop/web own") in deeds
    assert ("credentials.remove", "shop/ team") in deeds
    assert not [key for key, text in all_stored(api.farm).items() if CANARY in text]
    assert CANARY not in api.log.read_text()
    (found,) = api.farm.fetch_credentials.of("shop", "web")
    assert (found.value, found.user, found.submodules, found.lfs) == (CANARY, "robot", True, True)
    assert CANARY not in repr(found)
    assert api.farm.fetch_credentials.of("shop", "other") == ()


@pytest.mark.parametrize("fields", [{"value": f"{CANARY}\n{CANARY}"}, {"kind": "ssh-key"}, {"novelty": CANARY}])
def test_what_is_refused_is_not_repeated(api, fields):
    with api.as_("shop", "read", "submit") as tenant:
        answer = tenant.put("/v1/credentials", json=body("wrong", **fields))
    assert answer.status_code in (400, 422)
    assert CANARY not in answer.text


def test_the_client_sets_one(api):
    with Client(api.url, api.token(None, "read", "submit")) as client:
        new = NewCredential(kind=Kind.TOKEN, address="h.example.org", value=CANARY)
        (shown,) = client.set_credential("by-client", new, tenant="clients")
        assert (shown.name, shown.kind) == ("by-client", Kind.TOKEN)
        assert client.credentials("clients") == [shown]
        assert client.set_credential("by-client", None, tenant="clients") == []


def test_a_value_that_is_moved_to_another_owner_or_address_opens_nothing(farm):
    new = NewCredential(kind=Kind.TOKEN, address="h.example.org", value=CANARY)
    farm.set_credential("key", new, tenant="shop", app="web")
    client, key = farm.database.client, farm.database.key("credentials", "shop")
    stored = client.hget(key, "web:key")
    for place, text in (
        ("other:key", stored), ("key", stored), ("web:renamed", stored),
        ("web:key", stored.replace("h.example.org", "evil.example.org")),
    ):  # fmt: skip
        client.delete(key)
        client.hset(key, place, text)
        (found,) = farm.fetch_credentials.of("shop", place.partition(":")[0])
        assert found.value == ""
    with pytest.raises(RequestError, match="has no key"):
        CredentialStore(farm.database, Seal("")).change("shop", None, "key", new)


def test_another_key_of_the_farm_loses_no_other_credential(farm):
    new = NewCredential(kind=Kind.TOKEN, address="h.example.org", value=CANARY)
    CredentialStore(farm.database, Seal("A" * 43)).change("shop", None, "lost", new)
    farm.set_credential("key", new, tenant="shop", app="web")
    assert {one.name: one.value for one in farm.fetch_credentials.of("shop", "web")} == {"lost": "", "key": CANARY}


@pytest.mark.parametrize("field", ["submodules", "lfs"])
def test_a_buildpack_with_more_to_fetch_counts_as_an_input_that_no_request_names(farm, field):
    new = NewCredential(kind=Kind.TOKEN, address="h.example.org/packs", value=CANARY, **{field: True})
    farm.set_credential("key", new, tenant="shop")
    pack = f"https://h.example.org/packs/x.git#{'a' * 40}"
    request = BuildRequest(tenant="shop", app="web", source=SOURCE)
    assert not farm._fetches_more(request)
    assert farm._fetches_more(request.model_copy(update={"buildpacks": (pack,)}))
    assert farm._fetches_more(request.model_copy(update={"buildpack_order": (pack,)}))


def test_the_keys_of_a_host_are_learned_once(farm, tmp_path):
    """Of two attempts that connect for the first time, the second has to see the keys of the first."""
    new = NewCredential(kind=Kind.SSH_KEY, address="h.example.org", value=make_key(tmp_path / "key")[0])
    farm.set_credential("key", new, tenant="shop")
    store = farm.fetch_credentials
    (before,) = store.of("shop", "web")
    assert store.learn(before, [HOST_KEY])
    assert store.learn(before, [HOST_KEY])
    assert not store.learn(before, [HOST_KEY.replace("AAAA", "BAAA")])
    (after,) = store.of("shop", "web")
    assert (after.host_keys, after.learned) == ((HOST_KEY,), True)
    farm.set_credential("key", new, tenant="shop")
    assert store.of("shop", "web")[0].host_keys == ()  # set again, it is learned anew
    farm.set_credential("key", None, tenant="shop")
    assert not store.learn(before, [HOST_KEY])


def test_there_is_a_bound(farm):
    new = NewCredential(kind=Kind.TOKEN, address="h.example.org", value=CANARY)
    for number in range(CREDENTIALS_MAX):
        farm.set_credential(f"key-{number}", new, tenant="shop")
    with pytest.raises(RequestError, match="no room for the credential more"):
        farm.set_credential("more", new, tenant="shop", app="web")


def test_a_build_with_credentials_is_left_to_newer_nodes(farm):
    new = NewCredential(kind=Kind.SSH_KEY, address="h.example.org", value="")
    request = BuildRequest(tenant="shop", app="web", source=SOURCE)
    private = BuildRequest(tenant="shop", app="web", source=GitSource(url="git@h.example.org:a/b.git"))
    with pytest.raises(RequestError, match=r"needs a credential, and shop/web has none"):
        farm.submit(private)
    before = farm.submit(request)
    new = NewCredential(kind=Kind.TOKEN, address="h.example.org", value=CANARY)
    farm.set_credential("key", new, tenant="shop")
    after = farm.submit(request)
    farm.set_credential("open", NewCredential(kind=Kind.PUBLIC, address="h.org", lfs=True), tenant="shop")
    newest = farm.submit(request)
    policies = [
        json.loads(farm.database.client.hget(farm.database.key("build", build.id), "request"))["run_policy"]
        for build in (before, after, newest)
    ]
    assert policies == ["latest_queued", "latest_queued+credentials", "latest_queued+credentials+lfs"]
    assert farm.get(after.id).request == farm.get(newest.id).request == request


def test_a_credential_without_git_lfs_is_stored_as_versions_before_wrote_it(farm):
    new = NewCredential(kind=Kind.TOKEN, address="h.example.org", value=CANARY)
    for name, lfs in (("before", False), ("asks", True)):
        farm.set_credential(name, new.model_copy(update={"lfs": lfs}), tenant="shop")
    stored = farm.database.client.hgetall(farm.database.key("credentials", "shop"))
    assert ["lfs" in stored[name].rpartition(" ")[0] for name in ("before", "asks")] == [False, True]
    assert {one.name: one.lfs for one in farm.fetch_credentials.of("shop", "web")} == {"before": False, "asks": True}


def test_the_command_line_sets_lists_and_removes(api, tmp_path):
    key, _ = make_key(tmp_path / "key")
    environment = {
        **os.environ, "BUILDFARM_NAMESPACE": api.farm.settings.namespace, "BUILDFARM_URL": api.url,
        "BUILDFARM_TOKEN": api.token(None, "read", "submit"),
    }  # fmt: skip

    def command(*words, stdin=""):
        call = [sys.executable, "-m", "buildfarm", "credentials", *words]
        done = subprocess.run(call, env=environment, input=stdin, capture_output=True, text=True, check=False)
        assert CANARY not in done.stdout + done.stderr
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    app = ["--app", "cli/web"]
    given = ["--kind", "ssh-key", "--for", "git@h.example.org:team/", "--file", f"{tmp_path}/key"]
    code, told = command("set", "deploy", *app, *given, "--host-key", HOST_KEY)
    assert code == 0, told
    assert "cli/web deploy ssh-key h.example.org/team ssh-ed25519 SHA256:" in told
    assert command("set", "token", *app, "--kind", "token", "--for", "h.example.org", stdin=f"{CANARY}\n")[0] == 0
    code, told = command("set", "open", *app, "--kind", "public", "--for", "open.example.org/me/", "--lfs")
    assert (code, "cli/web open public, lfs open.example.org/me" in told) == (0, True), told
    assert {one.name: one.value for one in api.farm.fetch_credentials.of("cli", "web")} == {
        "deploy": key,
        "open": "",
        "token": CANARY,
    }
    code, told = command("list", *app, "--json")
    assert [one["name"] for one in json.loads(told)] == ["deploy", "open", "token"]
    assert command("remove", "deploy", *app)[0] == 0
    code, told = command("remove", "deploy", *app)
    assert (code, "cli/web has no credential deploy" in told) == (2, True)
    assert command("set", "x", "--kind", "token", "--for", "h")[0] == 2

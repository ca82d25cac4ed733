"""Build variables over HTTP and on the command line: who may set them, and that nothing shows a value."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import pytest
from pydantic import SecretStr

from buildfarm.access import Audit
from buildfarm.client import AsyncClient, Client
from buildfarm.config_vars.build_variables import BuildVariable, VariableView
from buildfarm.errors import NodeError, RequestError
from buildfarm.farm import open_farm
from buildfarm.model import BuildRequest, State
from buildfarm.seal import Seal
from buildfarm.store.keeping.variables import NAMES_MAX, VariableStore
from testkit.archive import SOURCE
from testkit.queue.stored import all_stored
from testkit.serving import serving

CANARY = "canary-5b1f0c27"


@pytest.fixture(scope="module")
def api(module_farm):
    with serving(module_farm) as api:
        yield api


def body(tenant=None, app=None, **values):
    return {"tenant": tenant, "app": app, "variables": {name: {"value": value} for name, value in values.items()}}


def test_an_operator_sets_those_of_the_farm_and_of_a_tenant(api):
    with api.as_(None, "read", "submit", "admin") as operator:
        assert operator.put("/v1/variables", json=body(HTTP_PROXY=CANARY, GOPROXY="off")).status_code == 200
        answer = operator.put("/v1/variables", json=body("shop", NO_PROXY=f".{CANARY}"))
        assert [(one["tenant"], one["name"]) for one in answer.json()] == [
            (None, "GOPROXY"), (None, "HTTP_PROXY"), ("shop", "NO_PROXY"),
        ]  # fmt: skip
        removed = operator.put("/v1/variables", json={"variables": {"GOPROXY": None}})
        assert [one["name"] for one in removed.json()] == ["HTTP_PROXY"]
        assert CANARY not in answer.text + removed.text + operator.get("/v1/variables?tenant=shop").text
    found = api.farm.build_variables.of("shop", "web").environment
    assert found == {"HTTP_PROXY": CANARY, "http_proxy": CANARY, "NO_PROXY": f".{CANARY}", "no_proxy": f".{CANARY}"}


def test_a_tenant_sets_those_of_its_own_apps_alone(api):
    with api.as_("shop", "read", "submit") as tenant:
        answer = tenant.put("/v1/variables", json=body(None, "web", PIP_INDEX_URL=CANARY))
        assert ("shop", "web", "PIP_INDEX_URL") in [(one["tenant"], one["app"], one["name"]) for one in answer.json()]
        refused = [body(PIP_INDEX_URL="x"), body("shop", PIP_INDEX_URL="x"), body("other", "web", PIP_INDEX_URL="x")]
        assert [tenant.put("/v1/variables", json=one).status_code for one in refused] == [403, 403, 403]
        assert tenant.get("/v1/variables?tenant=other").status_code == 403
    with api.as_("shop", "read") as reader:
        assert reader.put("/v1/variables", json=body(None, "web", A="x")).status_code == 403
    with api.as_(None, "read", "submit") as orchestrator:
        assert orchestrator.put("/v1/variables", json=body("shop", "web", A="x")).status_code == 403
    assert api.farm.build_variables.of("shop", "web").environment["PIP_INDEX_URL"] == CANARY
    assert "PIP_INDEX_URL" not in api.farm.build_variables.of("shop", "other").environment
    assert "PIP_INDEX_URL" not in api.farm.build_variables.of("other", "web").environment


@pytest.mark.parametrize("value", [{"value": CANARY, "novelty": CANARY}, {"file": CANARY}, [CANARY], CANARY * 10_000])
def test_what_is_refused_is_not_repeated(api, value):
    with api.as_(None, "read", "submit", "admin") as operator:
        answer = operator.put("/v1/variables", json={"variables": {"CANARY": value, "LD_PRELOAD": {"value": CANARY}}})
    assert answer.status_code in (413, 422)
    assert CANARY not in answer.text


def test_the_audit_log_has_names_and_no_value(api):
    with api.as_(None, "read", "submit", "admin") as operator:
        operator.put("/v1/variables", json=body("shop", "web", TOKEN=CANARY))
    entry = Audit(api.farm.database).newest(1)[0]
    assert (entry.verb, entry.object, entry.tenant) == ("variables.set", "shop/web TOKEN", "shop")
    assert CANARY not in api.log.read_text()
    assert CANARY not in str(all_stored(api.farm))


def test_both_clients_do_what_the_farm_does(api):
    changes = {"NPM_TOKEN": BuildVariable(value=CANARY, file=True, secret=True)}
    wanted = VariableView(name="NPM_TOKEN", tenant="both", app="web", file=True, secret=True)
    with Client(api.url, api.token(None, "read", "submit", "admin")) as client:
        assert wanted in client.set_variables(changes, tenant="both", app="web")
        assert client.variables("both") == api.farm.variables("both")
        with pytest.raises(RequestError, match="BASH_ENV cannot be set"):
            client.set_variables({"BASH_ENV": BuildVariable(value="x")})

    async def unset():
        async with AsyncClient(api.url, api.token(None, "read", "submit", "admin")) as client:
            assert wanted in await client.variables("both")
            return await client.set_variables(dict.fromkeys(changes), tenant="both", app="web")

    assert wanted not in asyncio.run(unset())


def test_there_is_a_bound_and_a_change_beyond_it_changes_nothing(farm):
    many = {f"A{number}": BuildVariable(value="x" * 8) for number in range(190)}
    for app in "abc"[: NAMES_MAX // 190]:
        farm.set_variables(many, tenant="t", app=app)
    with pytest.raises(RequestError, match="There is no room for these variables: t may have 500"):
        farm.set_variables(many, tenant="t", app="z")
    assert not [one for one in farm.variables("t") if one.app == "z"]
    with pytest.raises(RequestError, match="524,288 bytes"):
        for number in range(99):
            farm.set_variables({f"A{number}": BuildVariable(value="x" * 32_000)})
    farm.set_variables(dict.fromkeys(many), tenant="t", app="a")
    assert len(farm.variables("t")) - len(farm.variables()) == 190


def test_a_value_is_bound_to_its_scope(farm):
    """What someone copies in Redis from one tenant to another cannot be decrypted there."""
    farm.set_variables({"TOKEN": BuildVariable(value=CANARY)}, tenant="one")
    client, key = farm.database.client, farm.database.key
    client.hset(key("variables", "other"), mapping=client.hgetall(key("variables", "one")))
    with pytest.raises(NodeError, match="cannot be decrypted"):
        farm.build_variables.of("other", "web")


def test_without_the_farms_key_nothing_is_accepted_and_nothing_is_read(farm):
    farm.set_variables({"TOKEN": BuildVariable(value=CANARY)})
    keyless = VariableStore(farm.database, Seal(""))
    with pytest.raises(RequestError, match="has no key"):
        keyless.change(None, None, {"TOKEN": BuildVariable(value="x")})
    with pytest.raises(NodeError):
        keyless.of("t", "a")


def test_a_changed_mirror_is_another_input(farm):
    """An equal request is answered with the image of before only as long as the variables are the same."""
    request = BuildRequest(tenant="t", app="a", source=SOURCE)
    before = farm.submit(request)
    farm.set_variables({"PIP_INDEX_URL": BuildVariable(value="https://mirror.example.org/simple")})
    after = farm.submit(request)
    policies = [
        json.loads(farm.database.client.hget(farm.database.key("build", build.id), "request"))["run_policy"]
        for build in (before, after)
    ]
    assert policies == ["latest_queued", "latest_queued+variables"]  # older nodes leave the latter to newer ones
    assert farm.get(after.id).request == before.request
    assert farm.get(before.id).state is State.SUPERSEDED
    assert not farm.submit(request, build_id=after.id).result_of
    with pytest.raises(RequestError):
        farm.set_variables({"A": BuildVariable(value="x")}, app="a")


def test_who_has_no_key_submits_too_where_variables_are_set(module_farm):
    module_farm.set_variables({"A": BuildVariable(value="x")}, tenant="keyless", app="web")
    with open_farm(module_farm.settings.model_copy(update={"farm_key": SecretStr("")})) as keyless:
        build = keyless.submit(BuildRequest(tenant="keyless", app="web", source=SOURCE, cached_result=True))
        with pytest.raises(NodeError, match=r"build variable .* cannot be decrypted"):
            keyless.build_variables.of("keyless", "web")
    raw = module_farm.database.client.hget(module_farm.database.key("build", build.id), "request")
    assert json.loads(raw)["run_policy"].endswith("+variables")


def test_an_operator_needs_the_scope_admin_alone(api):
    with api.as_(None, "read", "admin") as admin:
        assert admin.put("/v1/variables", json=body("shop", A="x")).status_code == 200
        assert admin.put("/v1/variables", json={"tenant": "shop", "variables": {"A": None}}).status_code == 200


def command(api, *words, url=True, **variables):
    environment = {**os.environ, "BUILDFARM_NAMESPACE": api.farm.settings.namespace, **variables}
    if url:
        environment |= {"BUILDFARM_URL": api.url, "BUILDFARM_TOKEN": api.token(None, "read", "submit", "admin")}
    done = subprocess.run(
        [sys.executable, "-m", "buildfarm", "env", *words], env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("url", [True, False], ids=["over HTTP", "on the farm's machine"])
def test_the_command_line_sets_lists_and_removes(api, tmp_path, url):
    (tmp_path / "npmrc").write_text(f"//registry.example.org/:_authToken={CANARY}\n")
    npmrc = f"NPM_CONFIG_USERCONFIG={tmp_path}/npmrc"
    app = ["--app", "cli/web"]
    code, told = command(api, "set", *app, "--secret", "A=plain-value", "TOKEN", "--file", npmrc, url=url, TOKEN=CANARY)
    assert (code, CANARY in told) == (0, False), told
    assert [line.split() for line in told.splitlines()[1:] if "cli/web" in line] == [
        ["cli/web", "A", "value,", "secret"],
        ["cli/web", "NPM_CONFIG_USERCONFIG", "file,", "secret"],
        ["cli/web", "TOKEN", "value,", "secret"],
    ]
    assert api.farm.build_variables.of("cli", "web").files == {
        "NPM_CONFIG_USERCONFIG": (tmp_path / "npmrc").read_text()
    }
    entry = Audit(api.farm.database).newest(1)[0]
    assert (entry.verb, entry.object) == ("variables.set", "cli/web A, NPM_CONFIG_USERCONFIG, TOKEN")
    code, told = command(api, "list", *app, "--json", url=url)
    assert {one["name"] for one in json.loads(told) if one["app"]} == {"A", "NPM_CONFIG_USERCONFIG", "TOKEN"}
    assert command(api, "unset", *app, "A", "TOKEN", "NPM_CONFIG_USERCONFIG", url=url)[0] == 0
    assert not [one for one in api.farm.variables("cli") if one.tenant]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["set", "A=1"], "Name one of --farm, --tenant and --app."),
        (["set", "--farm", "--tenant", "t", "A=1"], "Name one of --farm, --tenant and --app."),
        (["set", "--app", "t", "A=1"], "write it as TENANT/APP"),
        (["set", "--farm"], "Name at least one variable."),
        (["set", "--farm", "NOT_SET_ANYWHERE"], "write it as KEY=VALUE, or set this variable"),
        (["set", "--farm", "--file", "A=/nowhere/at/all"], "/nowhere/at/all cannot be read"),
        (["set", "--tenant", "No!", "A=1"], "is not a valid tenant"),
    ],
)
def test_the_command_line_names_what_is_wrong(api, words, told):
    code, found = command(api, *words, url=False)
    assert code == 2
    assert told in " ".join(found.split())

"""Variables that lead package managers to the farm's cache, and all that they yield to."""

from __future__ import annotations

import time

import pytest

from buildfarm.config_vars.downloads import cache_variables, is_judged, without_proxy

PLACE = "172.18.0.1:8090"
PYTHON = {"PIP_INDEX_URL", "PIP_TRUSTED_HOST", "BUILDFARM_PYPI_CACHE"}
NPM = {"npm_config_registry", "pnpm_config_registry"}
YARN = {"YARN_NPM_REGISTRY_SERVER", "YARN_UNSAFE_HTTP_WHITELIST"}
ALL = {*PYTHON, *NPM, "GOPROXY", "BUILDFARM_APT_CACHE"}


def led(variables=(), env=(), files=None):
    return set(cache_variables(PLACE, variables, env, files or {}))


def test_every_kind_of_package_comes_through_the_cache():
    found = cache_variables(PLACE, (), (), {})
    assert set(found) == ALL
    assert found["PIP_INDEX_URL"] == f"http://{PLACE}/_pypi/simple"
    assert found["npm_config_registry"] == f"http://{PLACE}/"
    assert found["GOPROXY"] == f"http://{PLACE}/_go|https://proxy.golang.org,direct"


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("PIP_INDEX_URL", PYTHON),
        ("UV_DEFAULT_INDEX", PYTHON),
        ("UV_INDEX_URL", PYTHON),
        ("PIP_CONFIG_FILE", PYTHON),
        ("npm_config_registry", NPM),
        ("NPM_CONFIG_REGISTRY", NPM),
        ("YARN_REGISTRY", NPM),
        ("GOPROXY", {"GOPROXY"}),
        ("APT_CONFIG", {"BUILDFARM_APT_CACHE"}),
        ("OTHER", set()),
    ],
)
@pytest.mark.parametrize("whose", ["variables", "env"])
def test_what_an_operator_a_tenant_or_the_app_has_set_wins(name, gone, whose):
    assert led(**{whose: [name]}) == ALL - gone


@pytest.mark.parametrize(
    ("file", "text", "gone"),
    [
        (".npmrc", "registry=https://npm.example.org/\n", NPM),
        (".npmrc", "@shop:registry=https://npm.example.org/\n//npm.example.org/:_authToken=${T}\n", set()),
        (".npmrc", "# registry=https://npm.example.org/\n", set()),
        ("bunfig.toml", '[install]\nregistry = "https://npm.example.org/"\n', NPM),
        ("pyproject.toml", '[[tool.uv.index]]\nurl = "https://pypi.example.org/simple"\n', PYTHON),
        ("pyproject.toml", '[tool.uv]\nindex-url = "https://pypi.example.org/simple"\n', PYTHON),
        ("pyproject.toml", '[project]\nname = "x"\n', set()),
        ("uv.toml", '[[index]]\nurl = "https://pypi.example.org/simple"\n', PYTHON),
    ],
)
def test_what_the_source_says_wins(file, text, gone):
    assert led(files={file: text}) == ALL - gone


@pytest.mark.parametrize(
    ("file", "text", "gone"),
    [
        ("web/.npmrc", "registry=https://npm.example.org/\n", NPM),
        (".npmrc", None, NPM),
        ("pyproject.toml", None, PYTHON),
        ("uv.toml", None, PYTHON),
        ("pyproject.toml", '[[ tool.uv.index ]]\nurl = "https://pypi.example.org/simple"\n', PYTHON),
        ("pyproject.toml", '[tool]\nuv = { index = [{ url = "https://pypi.example.org/simple" }] }\n', PYTHON),
        ("pyproject.toml", '[[tool.poetry.source]]\nurl = "https://pypi.example.org/simple"\n', PYTHON),
        ("api/pyproject.toml", '[tool.uv]\nindex-url = "https://pypi.example.org/simple"\n', PYTHON),
        (".config/pip/pip.conf", "", PYTHON),
        ("uv.lock", 'source = { registry = "https://pypi.example.org/simple" }\n', PYTHON),
        ("uv.lock", 'source = { registry = "https://pypi.org/simple" }\n', set()),
        ("uv.lock", None, PYTHON),
        ("package-lock.json", '"resolved": "https://npm.example.org/a/-/a-1.tgz"', NPM),
        ("package-lock.json", '"resolved": "https://registry.npmjs.org/a/-/a-1.tgz"', set()),
        ("package.json", '{"publishConfig": {"registry": "https://npm.example.org/"}}', NPM),
        ("bin/pre_compile", "npm config set registry https://npm.example.org/", NPM),
        ("bin/pre_compile", "pip config set global.index-url https://pypi.example.org/simple", PYTHON),
        ("bin/pre_compile", "go env -w GOPROXY=https://go.example.org", {"GOPROXY"}),
        ("bin/pre_compile", "echo hello", set()),
        ("bin/pre_compile", None, {*PYTHON, *NPM, "GOPROXY"}),
        (".config/go/env", None, {*PYTHON, *NPM, "GOPROXY"}),
    ],
)
def test_any_sign_of_an_own_index_anywhere_drops_the_kind(file, text, gone):
    assert is_judged(file)
    assert led(files={file: text}) == ALL - gone


def test_files_that_name_nothing_are_not_read():
    assert not is_judged("src/index.js")
    assert not is_judged("web/node_modules/a/package.json")


@pytest.mark.parametrize(
    "text", ["[" * 250_000, "index" * 50_000, "\n" * 250_000, "[[source" * 30_000, "resolved: " * 25_000]
)
def test_texts_that_are_made_to_take_long_do_not(text):
    began = time.process_time()
    for name in ("pyproject.toml", "package.json", "package-lock.json", "bin/hook"):
        led(files={name: text})
    assert time.process_time() - began < 2


def test_no_lock_file_of_uv_gets_the_address_of_the_cache():
    assert "UV_DEFAULT_INDEX" not in led()
    assert "UV_DEFAULT_INDEX" not in led(files={"pyproject.toml": ""})


@pytest.mark.parametrize(
    "files",
    [
        {"yarn.lock": ""},
        {".yarnrc": ""},
        {"package.json": '{"packageManager": "yarn@4"}'},
        {"package.json": '{"packageManager":"yarn@1"}'},
    ],
)
def test_yarn_gets_its_own_names_alone(files):
    assert led(files=files) == ALL - NPM | YARN


def test_a_registry_of_a_later_yarn_wins():
    files = {"yarn.lock": "", ".yarnrc.yml": "npmRegistryServer: https://npm.example.org\n"}
    assert led(files=files) == ALL - NPM


def test_an_apps_own_proxy_leads_past_the_cache_and_an_operators_one_does_not():
    assert led(env=["https_proxy"]) == set()
    assert led(variables=["HTTP_PROXY", "http_proxy"]) == ALL - {"BUILDFARM_APT_CACHE"}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, None),
        ({"PIP_INDEX_URL": "x"}, None),
        ({"HTTP_PROXY": "x"}, "172.18.0.1"),
        ({"HTTP_PROXY": "x", "NO_PROXY": "a,b"}, "a,b,172.18.0.1"),
        ({"https_proxy": "x", "no_proxy": "a"}, "a,172.18.0.1"),
    ],
)
def test_the_cache_is_reached_past_the_proxies_of_the_build_variables(environment, wanted):
    assert without_proxy(PLACE, environment) == ({} if wanted is None else {"NO_PROXY": wanted, "no_proxy": wanted})

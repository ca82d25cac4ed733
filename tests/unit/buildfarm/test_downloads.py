"""Variables that lead package managers to the farm's cache, and all that they yield to."""

from __future__ import annotations

import pytest

from buildfarm.config_vars.downloads import cache_variables, without_proxy

PLACE = "172.18.0.1:8090"
PYTHON = {"PIP_INDEX_URL", "PIP_TRUSTED_HOST", "UV_DEFAULT_INDEX", "BUILDFARM_PYPI_CACHE"}
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


def test_a_lock_file_of_uv_is_not_contradicted():
    assert led(files={"uv.lock": ""}) == ALL - {"UV_DEFAULT_INDEX"}


@pytest.mark.parametrize(
    "files", [{"yarn.lock": ""}, {".yarnrc": ""}, {"package.json": '{"packageManager": "yarn@4"}'}]
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

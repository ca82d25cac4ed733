"""Variables that lead a build's package managers to the farm's cache of packages. Pure.

They yield to everything that somebody has chosen: a build variable, a config var, and what the source says itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

# Files at the source's top that may name an index or a registry; of the others it counts that they are there.
READ = (
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    "bunfig.toml",
    "package.json",
    "pnpm-workspace.yaml",
    "pyproject.toml",
    "uv.toml",
)
PRESENT = ("uv.lock", "yarn.lock")

_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
_PYTHON = {
    "pip_index_url", "pip_no_index", "pip_config_file", "pip_trusted_host", "uv_default_index", "uv_index_url",
    "uv_index", "uv_no_index", "uv_config_file",
}  # fmt: skip
_NODE = {
    "npm_config_registry", "npm_config_userconfig", "npm_config_globalconfig", "pnpm_config_registry", "yarn_registry",
    "yarn_npm_registry_server", "yarn_rc_filename", "bun_config_registry",
}  # fmt: skip
_GO = {"goproxy", "goenv"}
_APT = {"apt_config", *_PROXIES}
_OWN_INDEX = re.compile(r"index[-_]url|^\s*\[\[(tool\.uv\.)?index\]\]|^\s*index\s*=", re.MULTILINE)
_OWN_REGISTRY = re.compile(r"(?<!:)\bregistry\b|npmRegistryServer|\bregistries\b", re.IGNORECASE)


def cache_variables(
    place: str, variables: Collection[str], env: Collection[str], files: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of a build whose farm has a cache at ``place`` (HOST:PORT), lowest in rank.

    ``variables`` and ``env`` are the names of its build variables and config vars. ``files`` has the text of those of
    ``READ`` that the source has, and any text for those of ``PRESENT``.
    """
    named = {name.lower() for name in (*variables, *env)}
    if _PROXIES & {name.lower() for name in env}:
        return {}  # the app reaches everything by a proxy of its choice
    return {
        **(_python(place, files) if not _PYTHON & named else {}),
        **(_node(place, files) if not _NODE & named else {}),
        **({"GOPROXY": f"http://{place}/_go|https://proxy.golang.org,direct"} if not _GO & named else {}),
        **({"BUILDFARM_APT_CACHE": f"http://{place}"} if not _APT & named else {}),
    }


def without_proxy(place: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what keeps requests to the cache away from the proxies of the build variables; empty without any."""
    names = [name for name in environment if name.lower() in _PROXIES]
    if not names:
        return {}
    known = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    value = ",".join(filter(None, (known, place.partition(":")[0])))
    return {"NO_PROXY": value, "no_proxy": value}


def _python(place: str, files: Mapping[str, str]) -> dict[str, str]:
    if any(_OWN_INDEX.search(files.get(name, "")) for name in ("pyproject.toml", "uv.toml")):
        return {}
    index = f"http://{place}/_pypi/simple"
    found = {"PIP_INDEX_URL": index, "PIP_TRUSTED_HOST": place, "BUILDFARM_PYPI_CACHE": f"http://{place}"}
    # A lock file of uv names the index that it was made with, and uv refuses to work with another one. The buildpack
    # python leads both to the cache.
    return found if "uv.lock" in files else {**found, "UV_DEFAULT_INDEX": index}


def _node(place: str, files: Mapping[str, str]) -> dict[str, str]:
    if any(_OWN_REGISTRY.search(text) for text in _settings(files)):
        return {}
    registry = f"http://{place}/"
    # Yarn 1 would write the address into the app, and goes where its lock file says.
    if ".yarnrc" in files or "yarn.lock" in files or '"packageManager": "yarn' in files.get("package.json", ""):
        return {
            "YARN_NPM_REGISTRY_SERVER": registry.rstrip("/"),
            "YARN_UNSAFE_HTTP_WHITELIST": place.partition(":")[0],
        }
    return {"npm_config_registry": registry, "pnpm_config_registry": registry}


def _settings(files: Mapping[str, str]) -> Iterator[str]:
    for name in (".npmrc", ".yarnrc", ".yarnrc.yml", "bunfig.toml", "pnpm-workspace.yaml"):
        # A registry of a scope stands beside the usual one.
        yield "\n".join(
            line for line in files.get(name, "").splitlines() if not line.lstrip().startswith(("@", "#", "//"))
        )

"""Variables that lead a build's package managers to the farm's cache of packages. Pure.

They yield to everything that somebody has chosen: a build variable, a config var, and what the source says itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

# Files that can name an index or a registry, by the last part of their path, wherever they are in the source.
_SETTINGS = {
    ".npmrc", ".yarnrc", ".yarnrc.yml", "bunfig.toml", ".bunfig.toml", "package.json", "pnpm-workspace.yaml",
    "pyproject.toml", "uv.toml", "pip.conf", "pip.ini", ".pydistutils.cfg", "go.env",
}  # fmt: skip
_LOCKS = {"uv.lock", "yarn.lock", "package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml"}
_HOOKS = {"pre_compile", "post_compile", "Makefile", "Procfile", "app.json", "scalingo.json"}

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
# Repeats have limits: the texts are a tenant's, and a search must not take long.
_OWN_INDEX = re.compile(
    r"index[-_.]?url|find[-_]links|no[-_]index|^[ \t]*\[[^\]\n]*index|^[ \t]*\[\[[^\]\n]*\bsource\b"
    r"|index[\w\"'-]{0,40}[ \t]{0,40}=|(PIP|UV)_\w{0,20}(INDEX|CONFIG)|--index\b|pip[. ]conf|uv\.toml",
    re.MULTILINE | re.IGNORECASE,
)
_OWN_REGISTRY = re.compile(r"(?<!:)(\b|_)registry\b|npmRegistryServer|\bregistries\b", re.IGNORECASE)
_HOOK_REGISTRY = re.compile(r"registr(y|ies)|RegistryServer|npmrc|yarnrc|npm_config|bunfig", re.IGNORECASE)
_OWN_PROXY = re.compile(r"GOPROXY|GOENV|go env", re.IGNORECASE)
_OTHER_PYPI = re.compile(r"registry = \"(?!https://pypi\.org/simple/?\")")
_OTHER_NPM = re.compile(
    r"(resolved\"?:? \"|tarball: ?[\"']?)https?://(?!registry\.(npmjs\.org|yarnpkg\.com)/|codeload\.github\.com/)"
)


def is_judged(path: str) -> bool:
    """Whether a file of the source, by its path in it, counts for which kinds of packages come from the cache."""
    *folders, name = path.split("/")
    if "node_modules" in folders and name not in _SETTINGS - {"package.json"}:
        return False
    in_bin, in_go = folders[-1:] == ["bin"], folders[-1:] == ["go"]
    return name in _SETTINGS | _LOCKS | _HOOKS or name.endswith(".sh") or in_bin or (in_go and name == "env")


def cache_variables(
    place: str, variables: Collection[str], env: Collection[str], files: Mapping[str, str | None]
) -> dict[str, str]:
    """Return the variables of a build whose farm has a cache at ``place`` (HOST:PORT), lowest in rank.

    ``variables`` and ``env`` are the names of its build variables and config vars. ``files`` has the text of those of
    the source that `is_judged` names, by their paths; None for one whose text is not known, which may say anything.
    """
    named = {name.lower() for name in (*variables, *env)}
    if _PROXIES & {name.lower() for name in env}:
        return {}  # the app reaches everything by a proxy of its choice
    return {
        **(_python(place, files) if not _PYTHON & named else {}),
        **(_node(place, files) if not _NODE & named else {}),
        **(
            {"GOPROXY": f"http://{place}/_go|https://proxy.golang.org,direct"}
            if not _GO & named and not _leads_go(files)
            else {}
        ),
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


def _python(place: str, files: Mapping[str, str | None]) -> dict[str, str]:
    if any(_names_index(path, text) for path, text in files.items()):
        return {}
    # uv would write the address of an index of UV_DEFAULT_INDEX into a lock file. The buildpack python leads uv to the
    # cache while it installs from a lock file that is there.
    index = f"http://{place}/_pypi/simple"
    return {"PIP_INDEX_URL": index, "PIP_TRUSTED_HOST": place, "BUILDFARM_PYPI_CACHE": f"http://{place}"}


def _names_index(path: str, text: str | None) -> bool:
    name = _name(path)
    if name in ("pip.conf", "pip.ini", ".pydistutils.cfg"):
        return True
    if name == "uv.lock":
        return text is None or _OTHER_PYPI.search(text) is not None
    if name in ("pyproject.toml", "uv.toml") or _is_hook(path):
        return text is None or _OWN_INDEX.search(text) is not None
    return False


def _node(place: str, files: Mapping[str, str | None]) -> dict[str, str]:
    if any(_names_registry(path, text) for path, text in files.items()):
        return {}
    registry = f"http://{place}/"
    # Yarn 1 would write the address into the app, and goes where its lock file says.
    if any(_is_of_yarn(_name(path), text or "") for path, text in files.items()):
        return {
            "YARN_NPM_REGISTRY_SERVER": registry.rstrip("/"),
            "YARN_UNSAFE_HTTP_WHITELIST": place.partition(":")[0],
        }
    return {"npm_config_registry": registry, "pnpm_config_registry": registry}


def _names_registry(path: str, text: str | None) -> bool:
    name = _name(path)
    if name in ("pyproject.toml", "uv.toml", "uv.lock", "pip.conf", "pip.ini", ".pydistutils.cfg", "go.env"):
        return False
    if text is None:
        return True
    if name in _LOCKS:
        return _OTHER_NPM.search(text) is not None
    if name in _SETTINGS:
        # A registry of a scope stands beside the usual one.
        lines = (line for line in text.splitlines() if not line.lstrip().startswith(("@", "#", "//")))
        return _OWN_REGISTRY.search("\n".join(lines)) is not None
    return _HOOK_REGISTRY.search(text) is not None


def _is_of_yarn(name: str, text: str) -> bool:
    return name in (".yarnrc", ".yarnrc.yml", "yarn.lock") or (name == "package.json" and '"yarn' in text)


def _leads_go(files: Mapping[str, str | None]) -> bool:
    for path, text in files.items():
        if _name(path) in ("go.env", "env") or (_is_hook(path) and (text is None or _OWN_PROXY.search(text))):
            return True
    return False


def _is_hook(path: str) -> bool:
    """Whether a build can run what is in it, which can name an index too."""
    return _name(path) not in (_SETTINGS - {"package.json"}) | _LOCKS


def _name(path: str) -> str:
    return path.rpartition("/")[2]

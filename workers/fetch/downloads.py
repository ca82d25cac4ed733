"""The farm's cache of packages, as a node sees it: whether it answers, and the variables of builds that use it."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import httpx

from buildfarm.config_vars.build_variables import BuildVariables
from buildfarm.config_vars.downloads import PRESENT, READ, cache_variables, without_proxy
from workers.build_folder import BuildFolder, NotPlainError
from workers.sandbox.container import Sandbox

_SECONDS = 2.0
_READ_BYTES_MAX = 256 * 1024


@dataclass(frozen=True)
class Downloads:
    """The cache at ``url``. ``begun`` makes that of one attempt; one that does not answer is passed over."""

    url: str = ""  # as nodes and builds reach it; empty: the farm has none
    place: str = ""  # of one attempt: HOST:PORT with an address; empty: builds fetch by themselves
    run: str = ""  # likewise: which run of its program answered

    def begun(self) -> Downloads:
        """The same for one attempt."""
        place = _resolved(self.url)
        run = _asked(place)
        return replace(self, place=place if run else "", run=run)

    def lost(self) -> str:
        """Why a failure can be the cache's: it has gone or began anew since ``begun``. Empty if neither."""
        if not self.place or _asked(self.place) == self.run:
            return ""
        return f"the farm's cache of packages at {self.place} stopped during the build"

    def told(self, app: BuildFolder, variables: BuildVariables, env: Collection[str]) -> dict[str, str]:
        """What a build of this app has in its environment, beside what it has anyway."""
        if not self.place:
            return {}
        found = cache_variables(self.place, variables.found, env, dict(_files(app)))
        return {**found, **without_proxy(self.place, variables.environment)} if found else {}

    def led(self, sandbox: Sandbox, app: BuildFolder, variables: BuildVariables, env: Collection[str]) -> Sandbox:
        """The same sandbox, whose package managers fetch from the cache."""
        found = self.told(app, variables, env)
        if not found:
            return sandbox
        # A package manager that refuses a file does not always say where it came from.
        sandbox.log(f"Packages come through the farm's cache at {self.place}\n".encode())
        return sandbox.with_variables(found)


NO_DOWNLOADS = Downloads()


def _files(app: BuildFolder) -> Iterator[tuple[str, str]]:
    for name in READ:
        try:
            text = app.read(name, _READ_BYTES_MAX)
        except NotPlainError:
            continue
        if text is not None:
            yield name, text.decode(errors="replace")
    for name in PRESENT:
        if app.has_file(name):
            yield name, ""


def _resolved(url: str) -> str:
    """Its first IPv4 address and its port: sandboxes may not resolve the name. Empty if the node cannot either."""
    parts = urlsplit(url)
    if not parts.hostname:
        return ""
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return ""
    return f"{found[0][4][0]}:{parts.port or 80}"


def _asked(place: str) -> str:
    """The id of the run that answers; empty if none does."""
    if not place:
        return ""
    try:
        answer = httpx.get(f"http://{place}/_health", timeout=_SECONDS, trust_env=False)
    except httpx.HTTPError:
        return ""
    return answer.text.strip() if answer.status_code == 200 else ""

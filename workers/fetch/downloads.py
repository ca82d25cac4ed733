"""The farm's cache of packages, as a node sees it: whether it answers, and the variables of builds that use it."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from buildfarm.config_vars.build_variables import BuildVariables
from buildfarm.config_vars.downloads import cache_variables, is_judged, without_proxy
from buildfarm.model import Phase
from workers.build_folder import BuildFolder, NotPlainError
from workers.sandbox.container import Sandbox

_SECONDS = 2.0
_READ_BYTES_MAX = 4 * 1024 * 1024
_ALL_BYTES_MAX = 16 * 1024 * 1024  # of all files of a source that are read
_FILES_MAX = 500
_ANSWER_BYTES_MAX = 100


@dataclass(eq=False)
class Downloads:
    """The cache at ``url``. ``begun`` makes that of one attempt; one that does not answer is passed over."""

    url: str = ""  # as nodes and builds reach it; empty: the farm has none
    opens: Callable[[str], bool] = lambda _: True  # whether the node lets builds reach it at HOST:PORT
    place: str = ""  # of one attempt that uses it: HOST:PORT with an address; empty: it fetches by itself
    run: str = ""  # likewise: which run of its program answered

    def begun(self) -> Downloads:
        """The same for one attempt. It asks nothing yet."""
        return Downloads(self.url, self.opens)

    def lost(self, phase: Phase | None) -> str:
        """Why a failure in this phase can be the cache's: it has gone or began anew since. Empty if neither."""
        if phase is not Phase.COMPILE or not self.place or _asked(self.place) == self.run:
            return ""
        return f"the farm's cache of packages at {self.place} stopped during the build"

    def told(
        self, app: BuildFolder, variables: BuildVariables, env: Collection[str], names: Iterable[str]
    ) -> dict[str, str]:
        """What a build of this app has in its environment, beside what it has anyway.

        ``env`` has its config vars and those of its base, as names or as NAME=VALUE. ``names`` are those of all that is
        in the source, in the app's folder.
        """
        place = next(filter(self.opens, _resolved(self.url)), "") if self.url else ""
        run = _asked(place)
        if not run:
            return {}
        chosen = [name.partition("=")[0] for name in env]
        found = cache_variables(place, variables.found, chosen, dict(_files(app, names)))
        if not found:
            return {}
        self.place, self.run = place, run
        return {**found, **without_proxy(place, variables.environment)}

    def led(
        self,
        sandbox: Sandbox,
        app: BuildFolder,
        variables: BuildVariables,
        env: Collection[str],
        names: Iterable[str],
    ) -> Sandbox:
        """The same sandbox, whose package managers fetch from the cache."""
        found = self.told(app, variables, env, names)
        if not found:
            return sandbox
        # A package manager that refuses a file does not always say where it came from.
        sandbox.log(f"Packages come through the farm's cache at {self.place}\n".encode())
        return sandbox.with_variables(found)


NO_DOWNLOADS = Downloads()


def _files(app: BuildFolder, names: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """The files that count, with None for what cannot be read: too many, too large, a link."""
    left = _ALL_BYTES_MAX
    judged = sorted(path for name in names if is_judged(path := name.partition("/")[2]))
    for number, path in enumerate(judged):
        content = None
        if number < _FILES_MAX and left > 0:
            try:
                content = app.read(path, min(left, _READ_BYTES_MAX))
            except NotPlainError:
                left -= _READ_BYTES_MAX  # it may have been read
        left -= len(content or b"")
        yield path, None if content is None else content.decode(errors="replace")


def _resolved(url: str) -> list[str]:
    """Its IPv4 addresses with its port: sandboxes may not resolve the name. None if the node cannot either."""
    found: list[str] = []
    # The resolver has no limit of time.
    thread = threading.Thread(target=lambda: found.extend(_addresses(url)), daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return found


def _addresses(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
        port = parts.port or 80
        answers = socket.getaddrinfo(parts.hostname or "", port, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, ValueError):
        return []
    return [f"{answer[4][0]}:{port}" for answer in answers]


def _asked(place: str) -> str:
    """The id of the run that answers; empty if none does."""
    if not place:
        return ""
    connection = http.client.HTTPConnection(place, timeout=_SECONDS)
    try:
        connection.request("GET", "/_health")
        answer = connection.getresponse()
        text = answer.read(_ANSWER_BYTES_MAX).decode(errors="replace").strip()
    except (OSError, ValueError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
    return text if answer.status == 200 else ""

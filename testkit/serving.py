"""The API in its own process, as `buildfarm api` starts it."""

from __future__ import annotations

import fcntl
import functools
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from buildfarm.access import Scope, Tokens
from buildfarm.farm import Farm

READY_SECONDS = 120
_LASTING: Sequence[int] = range(20_000, 30_000)  # Linux gives out those from 32768, Kubernetes those from 30000
_GIVEN: set[int] = set()  # by this process


@dataclass
class Api:
    """A running API; `as_` gives a client with its own token."""

    farm: Farm
    url: str
    metrics_url: str
    process: subprocess.Popen[bytes]
    log: Path

    def token(self, tenant: str | None, *scopes: str) -> str:
        """A token with these scopes; the one before it with the same ends."""
        wanted = frozenset(Scope(scope) for scope in scopes)
        name = "-".join(sorted(scopes))
        for token in Tokens(self.farm.database).all():
            if (token.tenant, token.name) == (tenant, name):
                Tokens(self.farm.database).revoke(token.id)
        return Tokens(self.farm.database, self.farm.settings.cell).make(tenant, name, wanted, 1)[0]

    def as_(self, tenant: str | None, *scopes: str, token: str = "") -> httpx.Client:
        """A client that shows a token."""
        text = token or self.token(tenant, *scopes)
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {text}"}, timeout=30, trust_env=False)

    def rss_bytes(self) -> int:
        """Memory of the process now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@contextmanager
def serving(farm: Farm, *, host: str = "127.0.0.1", port: int | str = 0, **variables: str) -> Iterator[Api]:
    """The API of this farm for the length of the block; it ends in good order."""
    port, metrics_port = port or free_port(), free_port()
    environment = {
        **os.environ,
        "BUILDFARM_NAMESPACE": farm.settings.namespace,
        "BUILDFARM_API_HOST": host,
        "BUILDFARM_METRICS_HOST": host,
        "BUILDFARM_API_PORT": str(port),
        "BUILDFARM_API_METRICS_PORT": str(metrics_port),
        "BUILDFARM_LOG_FORMAT": "json",
        **variables,
    }
    with tempfile.NamedTemporaryFile(prefix="buildfarm-api-", suffix=".log") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "buildfarm", "api"], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        at = f"http://[{host}]" if ":" in host else f"http://{host}"
        api = Api(farm, f"{at}:{port}", f"{at}:{metrics_port}/metrics", process, Path(log.name))
        try:
            _wait(api)
            yield api
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port that nothing listens on, and that stays free: see `lasting_ports`."""
    return lasting_ports(1)[0]


def lasting_ports(count: int) -> list[int]:
    """So many ports that stay free until something listens on them: the system and engines give others to programs.

    No two processes of tests get the same one, and none gets one twice. Raises RuntimeError if there are not as many.
    """
    found: list[int] = []
    for port in random.sample(_LASTING, len(_LASTING)):
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            if port not in _GIVEN:
                fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)  # to the end of this process
                _GIVEN.add(port)
                found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"{count} ports are needed, and {len(found)} of {len(_LASTING)} are free.")


@functools.cache
def _locks() -> int:
    """The descriptor of a file whose bytes stand for ports: a process locks those that it gives out."""
    return os.open(Path(tempfile.gettempdir()) / "buildfarm-test-ports", os.O_WRONLY | os.O_CREAT, 0o666)


def _wait(api: Api) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        if api.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the API did not start:\n{api.log.read_text()[-2000:]}")
        try:
            if httpx.get(f"{api.url}/healthz", trust_env=False).status_code == 204:
                return
        except httpx.TransportError:
            time.sleep(0.05)  # its socket opens when it is ready; there is nothing to wait on before

"""Giftless (pypi.org/project/giftless), another Git LFS server, in an environment and a process of its own."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_START_SECONDS = 60
# Its wheel names none of what it needs.
_PACKAGES = (
    "giftless==0.6.2", "flask", "flask-marshmallow", "marshmallow<4", "webargs", "flask-classful", "PyYAML", "pyjwt",
    "figcan", "python-dateutil", "typing-extensions", "cachetools", "python-dotenv",
    "importlib-metadata", "cryptography",
)  # fmt: skip
_CONFIG = """
LEGACY_ENDPOINTS: false
AUTH_PROVIDERS:
  - factory: giftless.auth.jwt:factory
    options: {{algorithm: HS256, private_key: "{secret}"}}
PRE_AUTHORIZED_ACTION_PROVIDER:
  factory: giftless.auth.jwt:factory
  options: {{algorithm: HS256, private_key: "{secret}"}}
TRANSFER_ADAPTERS:
  basic:
    factory: giftless.transfer.basic_streaming:factory
    options:
      storage_class: giftless.storage.local_storage:LocalStorage
      storage_options: {{path: "{folder}/objects"}}
"""
_SERVE = """
import sys
from giftless.app import init_app
from werkzeug.serving import run_simple
run_simple(sys.argv[1], int(sys.argv[2]), init_app(), ssl_context=(sys.argv[3], sys.argv[4]), threaded=True)
"""
_TOKEN = """
import jwt, sys, time
claims = {"exp": int(time.time()) + 3600, "sub": "test", "scopes": "obj:*/*/*:read,write"}
print(jwt.encode(claims, sys.argv[1], algorithm="HS256"))
"""


@dataclass(frozen=True)
class Giftless:
    """A running server, and a token for all that it has."""

    place: str
    token: str

    def url(self, repository: str) -> str:
        """The address that git-lfs pushes a repository's content to."""
        return f"https://_jwt:{self.token}@{self.place}/{repository}.git"

    def authenticate(self, repository: str) -> str:
        """What git-lfs-authenticate answers for a repository."""
        href = f"https://{self.place}/{repository}.git/info/lfs"
        return json.dumps({"href": href, "header": {"Authorization": f"Bearer {self.token}"}, "expires_in": 3600})


@contextmanager
def giftless(folder: Path, tls: Path, address: str) -> Iterator[Giftless]:
    """Installs and runs it for the length of the block. ``tls`` has tls.pem and tls.key for the address."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = str(folder / "venv/bin/python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *_PACKAGES], check=True, capture_output=True)
    secret = secrets.token_hex(32)
    (folder / "giftless.yaml").write_text(_CONFIG.format(secret=secret, folder=folder))
    token = subprocess.run([python, "-c", _TOKEN, secret], check=True, capture_output=True, text=True).stdout.strip()
    with socket.socket() as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "GIFTLESS_CONFIG_FILE": str(folder / "giftless.yaml")}
    command = [python, "-c", _SERVE, address, str(port), str(tls / "tls.pem"), str(tls / "tls.key")]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            _wait(address, port, process, folder / "log")
            yield Giftless(f"{address}:{port}", token)
        finally:
            process.terminate()


def _wait(address: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((address, port), 1):
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text())

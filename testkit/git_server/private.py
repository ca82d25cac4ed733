"""Private git repositories over HTTPS and ssh, and a private registry: what credentials are tried on."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from testkit.git_server import GitServer, Repository, git_server
from testkit.git_server.ssh_server import SshServer, ssh_server


@dataclass(frozen=True)
class PrivateGit:
    """The same repositories, over both."""

    folder: Path
    https: GitServer
    ssh: SshServer
    authority: str  # PEM: who signed the certificate of ``https``
    tls: ssl.SSLContext

    def repository(self, name: str) -> Repository:
        """A new repository."""
        return self.https.repository(name)

    def ssh_url(self, name: str) -> str:
        """Its address over ssh."""
        return f"{self.ssh.url}{self.folder}/{name}"


@dataclass
class PrivateRegistry:
    """A registry of one login with a token server, as far as fetching goes.

    ``moved`` sends its blobs elsewhere, ``moved_at_once`` every request, before a login.
    """

    host: str
    login: str
    content: dict[str, bytes] = field(default_factory=dict)  # by the end of the path
    shown: list[str] = field(default_factory=list)
    moved: str = ""
    moved_at_once: str = ""

    def put(self, repository: str, tag: str, layer: bytes, artifact_type: str = "") -> str:
        """An artifact of one layer; its digest."""
        digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
        described = {"digest": digest, "size": len(layer), "mediaType": "application/octet-stream"}
        manifest = json.dumps({"schemaVersion": 2, "artifactType": artifact_type, "layers": [described]}).encode()
        own = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        self.content[f"/v2/{repository}/blobs/{digest}"] = layer
        for reference in (tag, own):
            self.content[f"/v2/{repository}/manifests/{reference}"] = manifest
        return own


@contextmanager
def private_git(address: str) -> Iterator[PrivateGit]:
    """Both servers on this address of the machine, for the length of the block. Only root can start them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="buildfarm-private-")))
        tls, authority = tls_for(address, folder)
        https = stack.enter_context(git_server(folder, address, tls=tls))
        yield PrivateGit(folder, https, stack.enter_context(ssh_server(address)), authority, tls)


@contextmanager
def private_registry(address: str, tls: ssl.SSLContext, login: str) -> Iterator[PrivateRegistry]:
    """A registry over HTTPS, for the length of the block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorization = self.headers.get("Authorization", "")
            registry.shown.append(authorization)
            if registry.moved_at_once:
                return self._send(307, b"", {"Location": registry.moved_at_once + self.path})
            if self.path.startswith("/token"):
                coded = "Basic " + base64.b64encode(registry.login.encode()).decode()
                good = authorization == coded
                return self._send(
                    200 if good else 401, json.dumps({"token": "of-the-session"}).encode() if good else b""
                )
            if authorization != "Bearer of-the-session":
                challenge = f'Bearer realm="https://{registry.host}/token",service="test"'
                return self._send(401, b"", {"WWW-Authenticate": challenge})
            if registry.moved and "/blobs/" in self.path:
                return self._send(307, b"", {"Location": registry.moved + self.path})
            content = registry.content.get(self.path)
            return self._send(404 if content is None else 200, content or b"")

        def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((address, 0), Handler)
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    registry = PrivateRegistry(f"{address}:{server.server_address[1]}", login)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tls_for(address: str, folder: Path) -> tuple[ssl.SSLContext, str]:
    """A certificate for this address that signs itself, and its PEM."""
    key, certificate = folder / "tls.key", folder / "tls.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=private"]
    files = ["-addext", f"subjectAltName=IP:{address}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate.read_text()

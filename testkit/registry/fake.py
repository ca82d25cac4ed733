"""A small registry in this process: it speaks the protocol over a real socket, and fails on demand.

It knows what the farm uses of the distribution-spec: blobs, mounts, uploads of one PATCH and one PUT, and manifests,
which it refuses unless all they name is there.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import socket
import threading
from base64 import b64encode
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Self
from urllib.parse import parse_qs, urlsplit


def digest_of(content: bytes) -> str:
    """As manifests write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Repository:
    """What one repository holds."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)


class FakeRegistry(ThreadingMixIn, HTTPServer):
    """``faults`` are pairs of a method and what befalls its next request:

    - ``drop``: the connection ends in the middle of the request's body, or before the answer
    - ``stall``: no answer comes until the registry is closed
    - a status such as ``503``: the answer, with an error code in its body
    - ``other-digest``: the answer names the digest of other content
    - ``other-content``: the answer's body is changed on the way
    - ``cut``: the answer's body ends too early
    - ``no-mount``: a mount opens an upload session instead
    - ``elsewhere``, ``relative``, ``nowhere``: the Location is on another host, relative to this one, or missing
    """

    daemon_threads = False

    def __init__(self, *, credentials: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.authorization = credentials and "Basic " + b64encode(credentials.encode()).decode()
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, bytearray] = {}
        self.sessions = itertools.count(1)
        self.faults: deque[tuple[str, object]] = deque()
        self.log: list[str] = []
        self.closing = threading.Event()
        self.lock = threading.Lock()

    @property
    def host(self) -> str:
        """Host and port, as references name it."""
        return f"127.0.0.1:{self.server_port}"

    def repository(self, name: str) -> Repository:
        """The repository of this name, made when it is asked for."""
        with self.lock:
            return self.repositories.setdefault(name, Repository())

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: FakeRegistry
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 5  # a client that keeps its connection open cannot keep the registry from closing

    def log_message(self, *arguments: object) -> None:
        """Writes nothing."""

    def handle_any(self) -> None:
        """Answers a request, or fails as configured."""
        self.url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(self.url.query).items()}
        with self.server.lock:
            self.server.log.append(f"{self.command} {self.url.path}")
            faults = self.server.faults
            self.fault = faults.popleft()[1] if faults and faults[0][0] == self.command else None
        if self.fault in ("drop", "stall"):
            if self.fault == "stall":
                self.server.closing.wait(5)
            self.rfile.read(10 if self.command == "PATCH" else 0)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.body = self.read_body()
        if isinstance(self.fault, int):
            self.refuse(self.fault, "FAULT")
        elif self.server.authorization and self.headers["Authorization"] != self.server.authorization:
            self.refuse(401, "UNAUTHORIZED")
        else:
            self.route()

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any  # noqa: N815 - http.server's names

    def read_body(self) -> bytes:
        """The request's body, chunked or not."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = bytearray()
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def route(self) -> None:
        """Calls the method of this resource and this verb."""
        parts = self.url.path.removeprefix("/v2/").split("/")
        if self.url.path == "/v2/":
            self.answer(200, b"{}")
        elif parts == ["_catalog"]:
            self.listed("repositories", sorted(self.server.repositories))
        elif "uploads" in parts:
            repository = self.server.repository("/".join(parts[: parts.index("uploads") - 1]))
            getattr(self, f"upload_{self.command.lower()}")(repository, parts[-1])
        else:
            *name, kind, reference = parts
            getattr(self, f"{kind}_{self.command.lower()}")(self.server.repository("/".join(name)), reference)

    def upload_post(self, repository: Repository, _: str) -> None:
        """A mount, or a new session."""
        source = self.server.repository(self.query.get("from", "none"))
        digest = self.query.get("mount")
        if digest in source.blobs and self.fault != "no-mount":
            repository.blobs[digest] = source.blobs[digest]
            self.answer(201, headers={"Docker-Content-Digest": digest})
            return
        with self.server.lock:
            session = str(next(self.server.sessions))
            self.server.uploads[session] = bytearray()
        self.answer(202, headers=self.location(session))

    def upload_patch(self, _: Repository, session: str) -> None:
        """More bytes."""
        assert self.query["_state"] == "a=b&c"
        self.server.uploads[session] += self.body
        self.answer(202, headers=self.location(session))

    def upload_put(self, repository: Repository, session: str) -> None:
        """The last bytes, and the digest of all."""
        assert self.query["_state"] == "a=b&c"
        if session not in self.server.uploads:
            self.refuse(404, "BLOB_UPLOAD_UNKNOWN")
            return
        content = bytes(self.server.uploads[session] + self.body)
        if digest_of(content) != self.query["digest"]:
            self.refuse(400, "DIGEST_INVALID")
            return
        del self.server.uploads[session]
        repository.blobs[self.query["digest"]] = content
        self.answer(201, headers=self.digest_header(content))

    def upload_delete(self, _: Repository, session: str) -> None:
        """The session ends."""
        if self.server.uploads.pop(session, None) is None:
            self.refuse(404, "BLOB_UPLOAD_UNKNOWN")
            return
        self.answer(204)

    def blobs_get(self, repository: Repository, digest: str) -> None:
        """A blob."""
        if digest not in repository.blobs:
            self.refuse(404, "BLOB_UNKNOWN")
            return
        content = repository.blobs[digest]
        if part := self.headers.get("Range"):
            first, last = map(int, part.removeprefix("bytes=").split("-"))
            self.answer(206, content[first : last + 1])
            return
        self.answer(200, content, self.digest_header(content))

    blobs_head = blobs_get

    def tags_get(self, repository: Repository, _: str) -> None:
        """The tags of a repository."""
        self.listed("tags", sorted(name for name in repository.manifests if ":" not in name))

    def listed(self, field: str, names: list[str]) -> None:
        """A page of names, with a link to the next one."""
        rest = [name for name in names if name > self.query.get("last", "")]
        page = rest[: int(self.query["n"])]
        link = {"Link": f'<{self.url.path}?last={page[-1]}&n={len(page)}>; rel="next"'} if len(rest) > len(page) else {}
        self.answer(200, json.dumps({field: page}).encode(), link)

    def manifests_get(self, repository: Repository, reference: str) -> None:
        """A manifest."""
        if reference not in repository.manifests:
            self.refuse(404, "MANIFEST_UNKNOWN")
            return
        media_type, content = repository.manifests[reference]
        self.answer(200, content, {"Content-Type": media_type, **self.digest_header(content)})

    manifests_head = manifests_get

    def manifests_put(self, repository: Repository, reference: str) -> None:
        """A manifest, if all that it names is there."""
        fields = json.loads(self.body)
        parts = [*filter(None, [fields.get("config")]), *fields.get("layers", ())]
        lacks = any(part["digest"] not in repository.blobs for part in parts)
        if lacks or any(part["digest"] not in repository.manifests for part in fields.get("manifests", ())):
            self.refuse(400, "MANIFEST_BLOB_UNKNOWN")
            return
        for name in (reference, digest_of(self.body)):
            repository.manifests[name] = (self.headers["Content-Type"], self.body)
        self.answer(201, headers=self.digest_header(self.body))

    def manifests_delete(self, repository: Repository, reference: str) -> None:
        """It goes under all of its names."""
        if reference not in repository.manifests:
            self.refuse(404, "MANIFEST_UNKNOWN")
            return
        gone = repository.manifests[reference]
        repository.manifests = {name: kept for name, kept in repository.manifests.items() if kept != gone}
        self.answer(202)

    def location(self, session: str) -> dict[str, str]:
        """Where the upload goes on."""
        path = f"{self.url.path.partition('uploads/')[0]}uploads/{session}?_state=a%3Db%26c"
        match self.fault:
            case "elsewhere":
                return {"Location": f"http://localhost:1{path}"}
            case "relative":
                return {"Location": path}
            case "nowhere":
                return {}
        return {"Location": f"http://{self.server.host}{path}"}

    def digest_header(self, content: bytes) -> dict[str, str]:
        """Names what was answered."""
        return {"Docker-Content-Digest": digest_of(b"other" if self.fault == "other-digest" else content)}

    def refuse(self, status: int, code: str) -> None:
        """An error as the distribution-spec writes it."""
        body = {"errors": [{"code": code, "message": "the fake registry says no"}]}
        self.answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Sends it, changed or cut as configured."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.fault == "other-content":
            body = bytes(byte ^ 1 for byte in body)
        if self.fault == "cut":
            body = body[:-1]
            self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(body)

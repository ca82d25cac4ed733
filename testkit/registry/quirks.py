"""A registry as they are in the field: each way in which one differs from distribution is a switch."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from testkit.registry.fake import FakeRegistry, Handler, Repository


@dataclass(frozen=True)
class Quirks:
    """What a registry does."""

    redirects: bool = False  # reads of blobs are sent to a storage with another address
    no_mounts: bool = False  # a mount opens an upload
    no_deletes: bool = False
    relative: bool = False  # Location without scheme and host
    busy_status: int = 0  # the first request to each resource is refused so, with Retry-After
    token_requests: int = 0  # a token is good for so many requests


@dataclass
class Storage:
    """The storage behind a registry: what it was asked with."""

    server: FakeRegistry
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Another host than the registry's."""
        return f"http://localhost:{self.server.server_port}"


class QuirkyRegistry(FakeRegistry):
    """`FakeRegistry` with these quirks; ``storage`` is behind it."""

    def __init__(self, quirks: Quirks) -> None:
        super().__init__()
        self.RequestHandlerClass = QuirkyHandler
        self.quirks = quirks
        self.refused: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        registry = self

        class StorageHandler(Handler):
            def route(self) -> None:
                registry.storage.headers.append(dict(self.headers))
                self.blobs_get(registry.repository(self.query["repository"]), self.query["digest"])

        server = FakeRegistry()
        server.RequestHandlerClass = StorageHandler
        self.storage = Storage(server)

    def __enter__(self) -> Self:
        self.storage.server.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.storage.server.__exit__(*error)


class QuirkyHandler(Handler):
    """One connection."""

    server: QuirkyRegistry

    def route(self) -> None:
        """Refuses what the quirks say."""
        quirks, server = self.server.quirks, self.server
        if quirks.token_requests and not self._has_token():
            return
        resource = f"{self.command} {self.url.path.partition('uploads/')[0]}"
        if quirks.busy_status and not server.refused[resource]:
            server.refused[resource] += 1
            self.answer(quirks.busy_status, b"", {"Retry-After": "7"})
            return
        super().route()

    def _has_token(self) -> bool:
        server = self.server
        if self.url.path == "/token":
            with server.lock:
                name = f"token-{len(server.tokens)}"
                server.tokens[name] = server.quirks.token_requests
            self.answer(200, json.dumps({"token": name, "expires_in": 300}).encode())
            return False
        name = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        with server.lock:
            server.tokens[name] -= 1
            good = server.tokens[name] >= 0
        if not good:
            challenge = f'Bearer realm="http://{server.host}/token",service="fake"'
            self.answer(401, b"", {"WWW-Authenticate": challenge})
        return good

    def upload_post(self, repository: Repository, session: str) -> None:
        """A mount, unless there are none, or a new session."""
        if self.server.quirks.no_mounts:
            self.query.pop("mount", None)
        super().upload_post(repository, session)

    def blobs_get(self, repository: Repository, digest: str) -> None:
        """A blob, or where it is."""
        if not self.server.quirks.redirects or digest not in repository.blobs:
            super().blobs_get(repository, digest)
            return
        name = next(name for name, each in self.server.repositories.items() if each is repository)
        url = f"{self.server.storage.url}/v2/?repository={name}&digest={digest}&signature=secret"
        self.answer(307, b"", {"Location": url})

    blobs_head = blobs_get

    def manifests_delete(self, repository: Repository, reference: str) -> None:
        """Gone, unless nothing can be deleted."""
        if self.server.quirks.no_deletes:
            self.refuse(405, "UNSUPPORTED")
        else:
            super().manifests_delete(repository, reference)

    def location(self, session: str) -> dict[str, str]:
        """Where the upload goes on."""
        if self.server.quirks.relative:
            self.fault = "relative"
        return super().location(session)

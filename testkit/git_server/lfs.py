"""A Git LFS server beside git's own: the batch API and the basic transfer. The real git-lfs pushes to it and pulls.

Sources: "Git LFS Batch API" (api/batch.md) and "Basic Transfer API" of github.com/git-lfs/git-lfs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

SESSION = "Bearer of-the-lfs-session"  # what its answers give for a transfer
OVER_SSH = "RemoteAuth of-git-lfs-authenticate"  # what git-lfs-authenticate gives for the batch API
PATH = "/info/lfs/"
_TYPE = {"Content-Type": "application/vnd.git-lfs+json"}


@dataclass
class LfsStore:
    """The objects of all repositories, by their ids, and what is wrong with the server."""

    objects: dict[str, bytes] = field(default_factory=dict)
    sent: dict[str, bytes] = field(default_factory=dict)  # other bytes than an object has
    at: str = ""  # another server, whose objects the answers name
    cut: int = 0  # how many of the next downloads end early
    is_open: bool = False  # it gives objects to all
    moved: str = ""  # another server, to which a request for an object is redirected
    seen: list[dict[str, str]] = field(default_factory=list)  # the headers of each request
    batches: list[int] = field(default_factory=list)  # how many objects each batch asked for

    def answer(
        self, method: str, url: str, path: str, headers: dict[str, str], body: bytes, *, may: bool
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, content and headers for a request below PATH. ``may``: its login is one of the server's."""
        self.seen.append(headers)
        authorization = headers.get("Authorization", "")
        repository, _, what = path.partition(PATH)
        if what.startswith("objects/batch"):
            if not may and authorization != OVER_SSH:
                return 401, b'{"message": "log in"}', {**_TYPE, "LFS-Authenticate": 'Basic realm="git"'}
            return 200, json.dumps(self._batch(url + repository, json.loads(body))).encode(), _TYPE
        if not what.startswith("objects/"):
            return 404, b"{}", _TYPE
        if self.moved:
            return 302, b"", {"Location": f"{self.moved}{path}"}
        return self._transfer(method, what.removeprefix("objects/"), authorization, body)

    def _transfer(self, method: str, oid: str, authorization: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        if authorization != SESSION and not self.is_open:
            return 403, b"", {}
        if method == "PUT":
            good = hashlib.sha256(body).hexdigest() == oid
            self.objects |= {oid: body} if good else {}
            return 200 if good else 422, b"", {}
        content = self.sent.get(oid, self.objects.get(oid))
        if content and self.cut:
            self.cut -= 1
            return 200, content[:-1], {"Content-Length": str(len(content))}
        return 404 if content is None else 200, content or b"", {}

    def _batch(self, repository: str, asked: dict[str, Any]) -> dict[str, Any]:
        self.batches.append(len(asked["objects"]))
        found = [self._object(repository, asked["operation"], one) for one in asked["objects"]]
        return {"transfer": "basic", "objects": found, "hash_algo": "sha256"}

    def _object(self, repository: str, operation: str, wanted: dict[str, Any]) -> dict[str, Any]:
        known = wanted["oid"] in self.objects
        if operation == "download" and not known:
            return {**wanted, "error": {"code": 404, "message": "Object does not exist"}}
        place = f"{self.at or repository}{PATH}objects/{wanted['oid']}"
        action = {"href": place, "header": {"Authorization": SESSION}, "expires_in": 600}
        return {
            **wanted,
            "authenticated": True,
            "actions": {} if operation == "upload" and known else {operation: action},
        }

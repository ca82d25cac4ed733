"""A client of a Git LFS server, as far as fetching goes: the batch API and the basic transfer.

Sources: "Git LFS Batch API" (api/batch.md) and "Basic Transfer API" of github.com/git-lfs/git-lfs.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from workers.fetch.inside.lfs.address import covers
from workers.fetch.inside.lfs.answers import action, objects, say
from workers.fetch.inside.lfs.pointer import Pointer
from workers.fetch.inside.refused import RefusedError

_TYPE = "application/vnd.git-lfs+json"
_SECONDS, _TRIES = 60, 3
_ANSWER_BYTES_MAX, _CHUNK_BYTES = 4 * 1024 * 1024, 256 * 1024
_REFUSED = (401, 403, 404, 410)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect with the same request, without a login or any header of the answer, and never out of TLS."""

    def redirect_request(self, req: urllib.request.Request, fp: Any, *arguments: Any) -> urllib.request.Request:
        url = str(arguments[-1])
        if urlsplit(url).scheme not in ("https", req.type):
            fp.close()
            say("The LFS server redirects to an address without TLS.")
            raise RefusedError("lfs-failed", req.host)
        return urllib.request.Request(url, req.data, req.headers, unverifiable=True)


class Server:
    """The LFS server at ``address``; ``headers`` are what git-lfs-authenticate gave for it."""

    def __init__(self, job: dict[str, Any], address: str, headers: dict[str, str], deadline: float) -> None:
        self.job, self.address, self.headers, self.deadline = job, address, headers, deadline
        self.name = urlsplit(address).netloc
        # One for all: reading the authorities takes longer than a small object.
        context = ssl.create_default_context()
        self.opener = urllib.request.build_opener(_Redirects, urllib.request.HTTPSHandler(context=context))

    def batch(self, pointers: Iterable[Pointer]) -> dict[str, dict[str, Any]]:
        """What the server says about each object, by its id. Raises RefusedError."""
        wanted = [{"oid": one.oid, "size": one.size} for one in pointers]
        body = {"operation": "download", "transfers": ["basic"], "objects": wanted, "hash_algo": "sha256"}
        url = f"{self.address}/objects/batch"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Accept": _TYPE, "Content-Type": _TYPE})
        login = {"Authorization": self._basic()} if covers(self.job, url) else {}
        try:
            with self._open(request, login | self.headers) as answer:
                return objects(json.loads(answer.read(_ANSWER_BYTES_MAX)))
        except urllib.error.HTTPError as error:
            error.close()
            say(f"The LFS server {self.name} answered {error.code}.")
            raise RefusedError("lfs-refused" if error.code in _REFUSED else "lfs-failed", self.name) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            say(f"The LFS server {self.name} cannot be read: {error}")
            raise RefusedError("lfs-failed", self.name) from error

    def download(self, pointer: Pointer, found: dict[str, Any], path: str, into: Path) -> None:
        """Write an object to a file. Raises RefusedError that names the ``path`` which needs it."""
        try:
            url, headers = action(found, path)
        except ValueError as error:
            raise RefusedError("lfs-failed", self.name) from error
        if urlsplit(url).scheme not in ("https", urlsplit(self.address).scheme):
            say("The LFS server names an address without TLS.")
            raise RefusedError("lfs-failed", self.name)
        if covers(self.job, url) and not found.get("authenticated") and "authorization" not in map(str.lower, headers):
            headers["Authorization"] = self._basic()
        for left in reversed(range(_TRIES)):
            try:
                with self._open(urllib.request.Request(url), headers) as answer:
                    self._write(answer, pointer, path, into)
            except (OSError, ValueError, http.client.HTTPException) as error:
                self._judge(error, path, urlsplit(url).netloc, left)
            else:
                return

    def _judge(self, error: Exception, path: str, host: str, left: int) -> None:
        """Raises RefusedError unless another try can help."""
        code = 0
        if isinstance(error, urllib.error.HTTPError):
            code = error.code
            error.close()
        if getattr(error, "errno", 0) == errno.ENOSPC:
            raise RefusedError("space") from error
        if left and code not in range(400, 500):
            return
        say(f"{path} cannot be fetched from {host}: {f'it answered {code}' if code else error}")
        raise RefusedError("lfs-missing" if code in _REFUSED else "lfs-failed", path if code else self.name) from error

    def _write(self, answer: Any, pointer: Pointer, path: str, into: Path) -> None:
        total, left = hashlib.sha256(), pointer.size
        with into.open("wb") as file:
            while left >= 0 and (piece := answer.read1(_CHUNK_BYTES)):
                self._in_time()
                left -= len(piece)
                total.update(piece)
                file.write(piece)
        if left or total.hexdigest() != pointer.oid:
            raise RefusedError("lfs-wrong", path)

    def _open(self, request: urllib.request.Request, headers: dict[str, str]) -> Any:
        self._in_time()
        for name, value in headers.items():
            request.add_unredirected_header(name, value)
        return self.opener.open(request, timeout=_SECONDS)

    def _in_time(self) -> None:
        if time.monotonic() > self.deadline:
            raise RefusedError("lfs-time", self.name)

    def _basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.job['user']}:{self.job['value']}".encode()).decode()

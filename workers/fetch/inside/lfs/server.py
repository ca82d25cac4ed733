"""A client of a Git LFS server, as far as fetching goes: the batch API and the basic transfer.

Sources: "Git LFS Batch API" (api/batch.md) and "Basic Transfer API" of github.com/git-lfs/git-lfs.
"""

from __future__ import annotations

import base64
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
from workers.fetch.inside.lfs.answers import MISSING, REFUSED, action, objects, say
from workers.fetch.inside.lfs.pointer import Pointer
from workers.fetch.inside.refused import NO_SPACE, RefusedError

_TYPE = "application/vnd.git-lfs+json"
_SECONDS, _TRIES, _PAUSE_SECONDS = 60, 3, 2
_SAY_SECONDS = 20  # below the time that a build may be silent: a log that grows is not silent
_ANSWER_BYTES_MAX, _ERROR_BYTES_MAX, _CHUNK_BYTES = 4 * 1024 * 1024, 64 * 1024, 256 * 1024
_BUSY = (408, 429)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect with the same request, without a login or any header of the answer, and never out of TLS."""

    def redirect_request(self, req: urllib.request.Request, fp: Any, *arguments: Any) -> urllib.request.Request:
        url = str(arguments[-1])
        fp.close()  # its content would be read to its end, wherever that is
        if urlsplit(url).scheme not in ("https", req.type):
            say("The LFS server redirects to an address without TLS.")
            raise RefusedError("lfs-failed", urlsplit(req.full_url).netloc)  # req.host can be a proxy
        # A proxy's login is among the headers.
        headers = {name: text for name, text in req.headers.items() if name in ("Accept", "Content-type")}
        return urllib.request.Request(url, req.data, headers, unverifiable=True)


class Server:
    """The LFS server at ``address``; ``headers`` are what git-lfs-authenticate gave for it."""

    def __init__(self, job: dict[str, Any], address: str, headers: dict[str, str], deadline: float) -> None:
        self.job, self.address, self.headers, self.deadline = job, address, headers, deadline
        self.name = urlsplit(address).netloc
        self.came, self.said_at = 0, time.monotonic()
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
                return objects(json.loads(self._read(answer, _ANSWER_BYTES_MAX)))
        except urllib.error.HTTPError as error:
            say(f"The LFS server {self.name} answered {error.code}{_after(url, error.url)}{self._message(error)}")
            code = "lfs-refused" if error.code in (*REFUSED, *MISSING) else "lfs-failed"
            raise RefusedError(code, self.name) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            say(f"The LFS server {self.name} cannot be read: {error}")
            raise RefusedError("lfs-failed", self.name) from error

    def download(self, pointer: Pointer, found: dict[str, Any], path: str, into: Path) -> None:
        """Write an object to a file. Raises RefusedError that names the ``path`` which needs it."""
        try:
            url, headers = action(found, path, self.name)
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
                self._judge(error, path, url, left)
                time.sleep(_PAUSE_SECONDS * (_TRIES - left))
            else:
                return

    def _judge(self, error: Exception, path: str, url: str, left: int) -> None:
        """Raises RefusedError unless another try can help."""
        code, host, words = 0, urlsplit(url).netloc, str(error)
        if isinstance(error, urllib.error.HTTPError):
            code, words = error.code, f"it answered {error.code}{_after(url, error.url)}"
            error.close()
        if getattr(error, "errno", 0) in NO_SPACE:
            raise RefusedError("space") from error
        if left and (code in _BUSY or code not in range(400, 500)):
            return
        say(f"{path} cannot be fetched from {host}: {words}")
        if code in MISSING:
            raise RefusedError("lfs-missing", path) from error
        raise RefusedError("lfs-refused" if code in REFUSED else "lfs-failed", host) from error

    def _read(self, answer: Any, limit: int) -> bytes:
        """A whole answer, in time. Raises ValueError if it is longer than the limit."""
        text = b""
        while piece := answer.read1(_CHUNK_BYTES):
            self._in_time()
            text += piece
            if len(text) > limit:
                raise ValueError(f"its answer has more than {limit:,} bytes")
        return text

    def _message(self, error: urllib.error.HTTPError) -> str:
        """What the server says about it, for the log."""
        try:
            with error:
                return f": {json.loads(self._read(error, _ERROR_BYTES_MAX))['message']}"
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
            return ""

    def _write(self, answer: Any, pointer: Pointer, path: str, into: Path) -> None:
        # Older versions of Python do not count down what is due when a piece is read.
        total, left, due = hashlib.sha256(), pointer.size, answer.length
        with into.open("wb") as file:
            while left >= 0 and (piece := answer.read1(_CHUNK_BYTES)):
                self._came(len(piece))
                left -= len(piece)
                total.update(piece)
                file.write(piece)
        if left > 0 and due is not None and pointer.size - left < due:
            raise ConnectionError(f"the connection ended before {due - pointer.size + left:,} bytes came")
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

    def _came(self, count: int) -> None:
        """Shows how far it is, if the last time was long ago. A server that sends nothing stays silent."""
        self._in_time()
        self.came += count
        if time.monotonic() - self.said_at > _SAY_SECONDS:
            self.said_at = time.monotonic()
            say(f"{self.came:,} bytes of Git LFS files came")

    def _basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.job['user']}:{self.job['value']}".encode()).decode()


def _after(asked: str, answered: str) -> str:
    """Words for a redirect. Queries can hold signatures, and are not shown."""
    before, now = (urlsplit(url)._replace(query="", fragment="").geturl() for url in (asked, answered))
    return "" if before == now else f" after a redirect to {now}"

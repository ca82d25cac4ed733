"""Blobs on their way into a registry: upload sessions, opened, filled and finished or cancelled.

The digest of a layer is known only at its end, so it is sent as one chunked PATCH and named by the PUT that follows
(distribution-spec, "Pushing a blob in chunks"; the registry takes a PATCH without Content-Range as a stream).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from buildfarm.errors import RegistryError
from buildfarm.oci.connection import Connection, OtherContentError
from buildfarm.oci.digest import Digest
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import LayerDigests
from buildfarm.oci.reference import check_repository

_OCTETS = {"Content-Type": "application/octet-stream"}

# Cancelling is a courtesy: the registry purges old sessions itself, and a build should not wait long for a dead one.
_CANCEL_SECONDS = 5

_AHEAD_SECONDS = 5  # likewise for one that is opened ahead, which only saves time

_SMALL_PIECES = 2  # of at most a chunk each


def send_layer(
    connection: Connection, repository: str, make_stream: Callable[[], LayerStream], check: Callable[[], None]
) -> LayerDigests:
    """Make the stream and send it, once. Raises what the stream, the connection and ``check`` raise, for each piece."""
    with make_stream() as stream, _session(connection, repository) as opening:
        pieces = _checked(stream, check)
        first = list(itertools.islice(pieces, _SMALL_PIECES))
        session = opening.result()
        if len(first) < _SMALL_PIECES:
            # The stream has ended already, so its digest is known: one request fewer.
            session.finish(stream.layer.digest, b"".join(first))
        else:
            session.append(itertools.chain(first, pieces))
            session.finish(stream.layer.digest)
        return stream.layer


def send_bytes(connection: Connection, repository: str, content: bytes) -> Digest:
    """Send a small blob, once."""
    digest, session = Digest.of(content), open_session(connection, repository)
    try:
        session.finish(digest, content)
    except BaseException:
        session.cancel()
        raise
    return digest


def send_stream(connection: Connection, repository: str, pieces: Iterable[bytes]) -> tuple[Digest, int]:
    """Send a blob of unknown size, once, while it comes in. What ``pieces`` raises cancels it and is raised."""
    digest, size_bytes = hashlib.sha256(), 0

    def counted() -> Iterator[bytes]:
        nonlocal size_bytes
        for piece in pieces:
            digest.update(piece)
            size_bytes += len(piece)
            yield piece

    with _session(connection, repository) as opening:
        session = opening.result()
        session.append(counted())
        found = Digest(f"sha256:{digest.hexdigest()}")
        session.finish(found)
    return found, size_bytes


def mount(connection: Connection, repository: str, digest: Digest, from_repository: str) -> bool:
    """Whether the registry took the blob over from another repository (distribution-spec, "Mounting a blob")."""
    response = connection.request(
        "POST",
        f"{_uploads(repository)}?mount={digest}&from={check_repository(from_repository)}",
        expect=(201, 202),
    )
    if response.status_code == 201:
        return True
    # It opened an upload session instead, which will never be filled.
    Session(connection, _location(connection, response)).cancel()
    return False


def check_answer(connection: Connection, response: httpx.Response, digest: Digest) -> None:
    """Raises OtherContentError when the registry says in its answer that it keeps other content than we sent."""
    kept = response.headers.get("Docker-Content-Digest", digest)
    if kept != digest:
        raise OtherContentError(f"The registry {connection.host} was sent {digest}, but stored {kept[:80]}.")


@contextlib.contextmanager
def _session(connection: Connection, repository: str) -> Iterator[Future[Session]]:
    """An upload that opens while the block makes what it sends; leaving the block with an error cancels it."""
    with ThreadPoolExecutor(1, "upload") as side:
        opening = side.submit(open_session, connection, repository)
        try:
            yield opening
        except BaseException:
            with contextlib.suppress(RegistryError):
                opening.result().cancel()
            raise


def open_ahead(connection: Connection, repository: str) -> Session:
    """Open an upload whose blob is not known yet, once; a registry that is slow does not get the usual time."""
    return open_session(connection, repository, timeout_seconds=_AHEAD_SECONDS)


def open_session(connection: Connection, repository: str, timeout_seconds: float | None = None) -> Session:
    """Open an upload, once."""
    response = connection.request("POST", _uploads(repository), expect=(202,), timeout_seconds=timeout_seconds)
    return Session(connection, _location(connection, response))


@dataclass
class Session:
    """An open upload. ``location`` is where its next request goes; each response names a new one."""

    connection: Connection
    location: str

    def append(self, pieces: Iterable[bytes]) -> None:
        """Send more of the blob."""
        response = self.connection.request("PATCH", self.location, expect=(202,), content=pieces, headers=_OCTETS)
        self.location = _location(self.connection, response)

    def finish(self, digest: Digest, content: bytes = b"") -> None:
        """Send the rest, and keep the blob."""
        # The location may have its own query, which must be kept as it is.
        url = f"{self.location}{'&' if '?' in self.location else '?'}digest={digest}"
        response = self.connection.request("PUT", url, expect=(201,), content=content, headers=_OCTETS)
        check_answer(self.connection, response, digest)

    def cancel(self) -> None:
        """Give the upload up; raises nothing."""
        with contextlib.suppress(RegistryError):
            self.connection.request("DELETE", self.location, expect=(204,), timeout_seconds=_CANCEL_SECONDS)


def _checked(pieces: Iterable[bytes], check: Callable[[], None]) -> Iterator[bytes]:
    for piece in pieces:
        check()
        yield piece


def _uploads(repository: str) -> str:
    return f"/v2/{check_repository(repository)}/blobs/uploads/"


def _location(connection: Connection, response: httpx.Response) -> str:
    return connection.same_host(response, response.headers.get("Location"))

"""A registry: blobs and manifests in and out, as the OCI distribution-spec has it."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx

from buildfarm.oci import retry, upload
from buildfarm.oci.connection import Connection, NotInRegistryError, Observe, OtherContentError
from buildfarm.oci.digest import Digest
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import (
    INDEX_TYPES,
    MANIFEST_BYTES_MAX,
    MANIFEST_TYPES,
    LayerDigests,
    Manifest,
    parse_json,
)
from buildfarm.oci.reference import check_repository, check_tag

_T = TypeVar("_T")

_ACCEPT = {"Accept": ", ".join([*MANIFEST_TYPES.values(), *INDEX_TYPES.values()])}
_CHUNK_BYTES = 1024 * 1024
_LOOK_SECONDS = 0.25
_PAGE = 500  # names of one answer; distribution allows 1,000
_NOTHING: Mapping[str, tuple[str, bytes]] = MappingProxyType({})


class Registry:
    """The farm's registry; a context manager, and safe to use from several threads.

    ``url`` is ``http[s]://[user:password@]host[:port]``, ``timeout_seconds`` the longest silence within one request.
    What fails for a while (connection, 5xx, 429) is tried ``attempts`` times, and on for ``patience_seconds``, with
    ``pause`` waiting in between.

    Every method raises RegistryError: NotInRegistryError where a repository, blob or manifest is not there,
    OtherContentError if one is not what its digest says, and UnavailableError when all attempts failed. A
    repository or tag that breaks the grammar raises ValueError.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = 60,
        attempts: int = 5,
        patience_seconds: float = 0,
        ca: Path | None = None,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        if attempts < 1:
            raise ValueError("a request needs at least one attempt")
        self._connection = Connection(url, timeout_seconds=timeout_seconds, ca=ca)
        self._attempts = attempts
        self._patience_seconds = patience_seconds
        self._pause = pause
        self._check: Callable[[], None] = _go_on
        self._sent: Callable[[str, int], object] = lambda repository, size: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the registry object is of no use afterwards."""
        self._connection.close()

    def during(self, check: Callable[[], None]) -> Registry:
        """The same registry for work that may have to end: what ``check`` raises ends a long call within a second."""
        view = copy.copy(self)
        view._check = check
        view._pause = partial(_checked_pause, check=check)
        return view

    @property
    def host(self) -> str:
        """``host[:port]``, the part of an image reference that names this registry."""
        return self._connection.host

    def observe(self, observe: Observe) -> None:
        """From now on ``observe`` is called for every request and retry: what it was, how it ended, its seconds."""
        self._connection.observe = observe

    def count_sent(self, count: Callable[[str, int], object]) -> None:
        """From now on ``count`` is called for each layer that was sent: with its repository and its bytes."""
        self._sent = count

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password, for an engine that pulls from this registry; None if there are none."""
        return self._connection.credentials

    def ping(self) -> None:
        """Raises RegistryError unless the registry is there and lets us in."""
        self._retry(lambda: self._connection.request("GET", "/v2/", expect=(200,)))

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Whether this repository has the blob."""
        return self._is_there(_blob(repository, digest))

    def mount(self, repository: str, digest: Digest, from_repository: str) -> bool:
        """Take a blob over from another repository without sending it; False when the registry would not."""
        return self._retry(lambda: upload.mount(self._connection, repository, digest, from_repository))

    def put_blob(self, repository: str, content: bytes, *, look: bool = True, counted: bool = False) -> Digest:
        """Send a small blob, unless it is there already; ``look`` is whether that is worth a question.

        With ``counted`` it counts as a layer does: see `count_sent`.
        """
        digest = Digest.of(content)
        if look and self.has_blob(repository, digest):
            return digest
        sent = self._retry(lambda: upload.send_bytes(self._connection, repository, content))
        if counted:
            self._sent(repository, len(content))
        return sent

    def open_upload(self, repository: str) -> upload.Session:
        """Open an upload before its blob is known, once and within seconds. It must be finished or cancelled."""
        return upload.open_ahead(self._connection, repository)

    def upload(self, repository: str, make_stream: Callable[[], LayerStream]) -> LayerDigests:
        """Send a layer while it is made.

        A stream cannot be sent twice: each attempt calls ``make_stream`` and makes the layer again. What the stream
        raises (TooLargeError, NodeError) ends it at once.
        """
        sent = self._retry(lambda: upload.send_layer(self._connection, repository, make_stream, self._check))
        self._sent(repository, sent.size_bytes)
        return sent

    def put_stream(self, repository: str, pieces: Iterable[bytes]) -> tuple[Digest, int]:
        """Send a blob while it comes in; its digest and size. It cannot be made again, so it is tried once."""
        return upload.send_stream(self._connection, repository, pieces)

    def get_blob(self, repository: str, digest: Digest, *, limit_bytes: int) -> Generator[bytes, None, None]:
        """The blob's bytes in chunks; close the iterator if you leave it early.

        Nothing in it may be trusted before its end: only there OtherContentError is raised when the bytes do not have
        this digest. It is raised at once when there are more than ``limit_bytes``. A connection lost on the way is
        not repaired.
        """
        with contextlib.ExitStack() as answers:
            response = self._retry(lambda: answers.enter_context(self._blob_answer(repository, digest)))
            yield from self._pieces(response, repository, digest, limit_bytes)

    def _blob_answer(self, repository: str, digest: Digest) -> contextlib.AbstractContextManager[httpx.Response]:
        return self._connection.stream("GET", _blob(repository, digest), expect=(200,))

    def _pieces(self, response: httpx.Response, repository: str, digest: Digest, limit_bytes: int) -> Iterator[bytes]:
        total_bytes, total = 0, hashlib.sha256()
        for chunk in response.iter_raw(_CHUNK_BYTES):
            self._check()
            total_bytes += len(chunk)
            if total_bytes > limit_bytes:
                raise OtherContentError(f"The blob {digest} in {self.host}/{repository} is over {limit_bytes:,} bytes.")
            total.update(chunk)
            yield chunk
        if total.hexdigest() != digest.hex:
            raise self._other_content(repository, digest, Digest(f"sha256:{total.hexdigest()}"))

    def read_blob(self, repository: str, digest: Digest, *, limit_bytes: int = MANIFEST_BYTES_MAX) -> bytes:
        """A small blob as a whole, verified."""

        def read() -> bytes:
            with self._blob_answer(repository, digest) as response:
                return b"".join(self._pieces(response, repository, digest, limit_bytes))

        return self._retry(read)

    def read_part(self, repository: str, digest: Digest, offset: int, size: int) -> bytes:
        """So many bytes of a blob from an offset on; not verified, since the digest is of the whole."""
        headers = {"Range": f"bytes={offset}-{offset + size - 1}"}
        path = _blob(repository, digest)
        part = self._retry(lambda: self._connection.request("GET", path, expect=(206,), headers=headers)).content
        if len(part) != size:
            raise OtherContentError(f"{self.host} returned {len(part):,} of {size:,} bytes of {repository}@{digest}.")
        return part

    def has_manifest(self, repository: str, reference: str) -> bool:
        """Whether this repository has a manifest under this tag or digest."""
        return self._is_there(_manifest(repository, reference))

    def get_manifest(self, repository: str, reference: str) -> tuple[str, bytes, Digest]:
        """Media type, bytes and digest of the manifest under this tag or digest; verified if it is a digest."""
        return self._retry(lambda: self._get_manifest(repository, reference))

    def read_manifest(self, repository: str, reference: str) -> tuple[Manifest, Digest]:
        """The manifest under this tag or digest, and its digest. Raises ValueError if it is not an image's."""
        media_type, content, digest = self.get_manifest(repository, reference)
        return Manifest.parse(content, media_type), digest

    def move_tag(
        self, repository: str, tag: str, wanted: Callable[[], str], sent: Mapping[str, tuple[str, bytes]] = _NOTHING
    ) -> None:
        """Points the tag at the image that ``wanted`` says, until what it says is what was done.

        Of two builds of an app that publish at once, each sets the tag to the record's answer, so that the record
        decides, whichever of the two is slower. ``sent`` has media type and bytes of manifests by their digest, which
        then need not be asked for.
        """
        done = ""
        while (digest := wanted()) != done:
            media_type, manifest = sent.get(digest) or self.get_manifest(repository, digest)[:2]
            self.put_manifest(repository, manifest, media_type, tag=tag)
            done = digest

    def put_manifest(self, repository: str, content: bytes, media_type: str, *, tag: str | None) -> Digest:
        """Keep a manifest, under its digest alone or under a tag as well. All it names must be there before.

        MissingBlobError if it is not.
        """
        digest = Digest.of(content)
        path = _manifest(repository, digest if tag is None else tag)
        headers = {"Content-Type": media_type}
        response = self._retry(
            lambda: self._connection.request("PUT", path, expect=(201,), content=content, headers=headers)
        )
        upload.check_answer(self._connection, response, digest)
        return digest

    def delete_manifest(self, repository: str, digest: Digest) -> None:
        """Delete a manifest and with it its tags; what it named is left to the registry's garbage collection."""
        self._retry(lambda: self._connection.request("DELETE", _manifest(repository, digest), expect=(202,)))

    def delete_blob(self, repository: str, digest: Digest) -> None:
        """Delete a blob from this repository; images that name it can be pulled no longer."""
        self._retry(lambda: self._connection.request("DELETE", _blob(repository, digest), expect=(202,)))

    def repositories(self) -> Iterator[str]:
        """The names of all repositories, also of those that hold nothing now."""
        return self._listed("/v2/_catalog", "repositories")

    def tags(self, repository: str) -> Iterator[str]:
        """A repository's tags."""
        return self._listed(f"/v2/{check_repository(repository)}/tags/list", "tags")

    def _listed(self, path: str, field: str) -> Iterator[str]:
        last = ""
        while True:
            url = f"{path}?n={_PAGE}" + (f"&last={quote(last)}" if last else "")
            response = self._retry(partial(self._connection.request, "GET", url, expect=(200,)))
            names = self._names(response.content, field)
            yield from names
            if not names or "next" not in response.links:
                return
            last = names[-1]

    def _names(self, content: bytes, field: str) -> list[str]:
        try:
            found = parse_json(content, "a list of names")
        except ValueError as error:
            raise OtherContentError(f"{self.host} was asked for its {field}, and its answer is not JSON.") from error
        names = found.get(field) if isinstance(found, dict) else None
        return [str(name) for name in names] if isinstance(names, list) else []

    def _get_manifest(self, repository: str, reference: str) -> tuple[str, bytes, Digest]:
        path = _manifest(repository, reference)
        content = b""
        with self._connection.stream("GET", path, expect=(200,), headers=_ACCEPT) as response:
            for chunk in response.iter_raw():
                content += chunk
                if len(content) > MANIFEST_BYTES_MAX:
                    raise OtherContentError(f"The manifest {reference} in {self.host}/{repository} is over 4 MiB.")
        digest = Digest.of(content)
        asked = reference if _is_digest(reference) else response.headers.get("Docker-Content-Digest", digest)
        if asked != digest:
            raise self._other_content(repository, asked, digest)
        return response.headers.get("Content-Type", "").partition(";")[0].strip(), content, digest

    def _is_there(self, path: str) -> bool:
        try:
            self._retry(lambda: self._connection.request("HEAD", path, expect=(200,), headers=_ACCEPT))
        except NotInRegistryError:
            return False
        return True

    def _other_content(self, repository: str, asked: str, found: Digest) -> OtherContentError:
        return OtherContentError(f"{self.host}/{repository} was asked for {asked[:80]}, but returned {found}.")

    def _retry(self, call: Callable[[], _T]) -> _T:
        return retry.retry(call, attempts=self._attempts, pause=self._pause, patience_seconds=self._patience_seconds)


def _blob(repository: str, digest: Digest) -> str:
    return f"/v2/{check_repository(repository)}/blobs/{digest}"


def _manifest(repository: str, reference: str) -> str:
    checked = Digest(reference) if _is_digest(reference) else check_tag(reference)
    return f"/v2/{check_repository(repository)}/manifests/{checked}"


def _go_on() -> None:
    """The check of work that nothing ends."""


def _checked_pause(seconds: float, *, check: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    check()
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_SECONDS))
        check()


def _is_digest(reference: str) -> bool:
    # A tag cannot hold a colon.
    return ":" in reference

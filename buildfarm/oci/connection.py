"""One registry over HTTP: a pool of connections whose failures are sentences and never hold credentials."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path

import httpx

from buildfarm.errors import RegistryError
from buildfarm.oci.http.auth import RegistryAuth, can_be_sent_again
from buildfarm.oci.http.elsewhere import REDIRECTS_MAX, Elsewhere, next_request
from buildfarm.oci.retry import UnavailableError, retry_after_seconds

# A request's method, how it ended (ok, refused by its status, failed without an answer), and its seconds.
Observe = Callable[[str, str, float], object]

_BLOB = re.compile(r"/blobs/[a-z0-9]+:[0-9a-f]+$")  # of a path: a repository may have the name blobs

_ERROR_BODY_BYTES_MAX = 64 * 1024
_ERROR_TEXT_LENGTH_MAX = 300
_LACKS_BLOB = (": MANIFEST_BLOB_UNKNOWN,", ": BLOB_UNKNOWN,")
# distribution 2.8 empties the link to a blob that is uploaded again before it writes it, and then answers this to a
# manifest that names the blob.
_LINK_IS_EMPTY = ": DIGEST_INVALID,"


class NotInRegistryError(RegistryError):
    """The registry does not have this repository, blob or manifest."""

    default_advice = "It was never pushed, or has been deleted."


class MissingBlobError(RegistryError):
    """The registry refuses a manifest, since it lacks a blob that the manifest names."""

    default_advice = "Build again: the farm sends what is missing."


class OtherContentError(RegistryError):
    """The registry gave or kept other content than its digest says."""


class Connection:
    """Requests to one registry, each tried once; safe to use from several threads.

    ``url`` may hold a user and a password, which `RegistryAuth` uses and which are shown nowhere; ``ca`` is a file of
    certificates to trust. Raises ValueError when the address is not ``http[s]://[user:password@]host[:port]``, and
    OSError if the file cannot be read.
    """

    def __init__(self, url: str, *, timeout_seconds: float, ca: Path | None = None) -> None:
        base = _checked(url)
        self.host = _host(base)
        self.observe: Observe | None = None
        self.credentials = (base.username, base.password) if base.userinfo else None
        self._elsewhere = Elsewhere(ca)
        self._client = httpx.Client(
            base_url=base.copy_with(userinfo=b""),
            auth=RegistryAuth(base.username, base.password),
            verify=ssl.create_default_context(cafile=ca) if base.scheme == "https" else False,
            timeout=timeout_seconds,
            # Blobs are compressed already; what is counted and hashed must be what was sent.
            headers={"Accept-Encoding": "identity"},
            # The registry is the farm's own: no proxy and no credentials file of the node stands in between.
            trust_env=False,
        )

    def close(self) -> None:
        self._client.close()
        self._elsewhere.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        expect: Container[int],
        content: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> httpx.Response:
        """One request and its whole answer. Raises like `stream`."""
        with self.stream(
            method, url, expect=expect, content=content, headers=headers, timeout_seconds=timeout_seconds
        ) as response:
            response.read()
            return response

    @contextlib.contextmanager
    def stream(
        self,
        method: str,
        url: str,
        *,
        expect: Container[int],
        content: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Iterator[httpx.Response]:
        """One request, and its answer while it comes in; ``url`` is a path, or absolute as `same_host` gives it.

        Raises UnavailableError when the connection fails, also while the block reads, and for 5xx and 429;
        NotInRegistryError for 404; RegistryError for any other status that is not in ``expect``.
        """
        timeout = httpx.USE_CLIENT_DEFAULT if timeout_seconds is None else timeout_seconds
        started, answer = time.monotonic(), "failed"
        try:
            with contextlib.ExitStack() as answers:
                asked = self._client.stream(method, url, content=content, headers=headers, timeout=timeout)
                response = self._followed(answers.enter_context(asked), answers)
                answer = "ok" if response.status_code in expect or response.status_code == 404 else "refused"
                self._tell(method, answer, started)
                if response.status_code not in expect:
                    raise self._refusal(response)
                yield response
        except httpx.TransportError as error:
            if answer == "failed":
                self._tell(method, answer, started)
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            raise UnavailableError(f"The registry {self.host} cannot be reached ({reason}).") from error

    def _followed(self, response: httpx.Response, answers: contextlib.ExitStack) -> httpx.Response:
        """The answer to a read of a blob, from wherever the registry has it."""
        if not _BLOB.search(response.request.url.path):
            return response
        for _ in range(REDIRECTS_MAX):
            request = next_request(response)
            if request is None:
                break
            response.close()
            response = self._elsewhere.send(request)
            answers.callback(response.close)
        return response

    def _tell(self, method: str, answer: str, started: float) -> None:
        if self.observe is not None:
            self.observe(method, answer, time.monotonic() - started)

    def same_host(self, response: httpx.Response, location: str | None) -> str:
        """The absolute address of a ``Location``, relative or not (distribution-spec, "Pushing blobs").

        Raises RegistryError when there is none, or when it leaves this registry: a layer and the farm's credentials
        would go to the host it names.
        """
        if not location:
            raise RegistryError(f"The registry {self.host} opened an upload without naming its address.")
        try:
            url = response.url.join(location)
        except httpx.InvalidURL as error:
            raise RegistryError(f"The registry {self.host} sends an upload to an address that is not valid.") from error
        if response.url.scheme == "https" and (url.scheme, url.host) == ("http", response.url.host):
            # A proxy ends TLS before it, and the registry names the address that it hears itself.
            url = url.copy_with(scheme="https", port=response.url.port)
        if (url.scheme, url.host, url.port) != (response.url.scheme, response.url.host, response.url.port):
            raise RegistryError(f"The registry {self.host} redirects an upload to another host, {url.host!r}.")
        return str(url.copy_with(userinfo=b""))

    def _refusal(self, response: httpx.Response) -> RegistryError:
        # Without its query, which holds the secret of an upload.
        what = f"{response.request.method} {response.request.url.path}"
        status = response.status_code
        if response.request.url.netloc.decode("ascii") != self.host and status != 404:
            # Its address is signed for some minutes: the registry makes a new one for the next attempt.
            storage = f"The storage {response.request.url.host} behind the registry {self.host}"
            return UnavailableError(f"{storage} answers {status} to {what}.")
        if status == 401 and not can_be_sent_again(response.request):
            return UnavailableError(f"The registry {self.host} refuses {what}: its token has expired meanwhile.")
        reason = _reason(response)
        sentence = f"The registry {self.host} answers {status} to {what}{reason}."
        if response.request.method == "PUT" and reason.startswith(_LACKS_BLOB):
            return MissingBlobError(sentence)
        if status >= 500 or status == 429 or ("/manifests/" in what and reason.startswith(_LINK_IS_EMPTY)):
            return UnavailableError(sentence, wait_seconds=retry_after_seconds(response.headers.get("Retry-After")))
        return NotInRegistryError(sentence) if status == 404 else _final(status, what, sentence)


def _final(status: int, what: str, sentence: str) -> RegistryError:
    """A refusal that comes again however often the request is sent."""
    match status:
        case 401 | 403:
            return RegistryError(sentence, advice="Check the user and password in the farm's registry address.")
        case 405:
            return RegistryError(sentence, advice="Let the registry allow it; docs/operating.md says what it needs.")
        case status if 300 <= status < 400:
            # Followed, the farm's credentials and an app's source could go to any host that an answer names.
            return RegistryError(
                f"The registry redirects {what} ({status}): the farm follows {REDIRECTS_MAX} redirects of blobs that it"
                " reads, and no others.",
                advice="Name the registry's final address.",
            )
    return RegistryError(sentence)


def host_of(url: str) -> str:
    """``host[:port]`` of a registry's address. Raises ValueError as `Connection` does."""
    return _host(_checked(url))


def _host(base: httpx.URL) -> str:
    return base.netloc.decode("ascii")


def _checked(url: str) -> httpx.URL:
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError("the registry's address is not a URL") from error
    if base.scheme not in ("http", "https") or not base.host or base.path not in ("", "/") or base.query:
        raise ValueError("the registry's address must be http[s]://[user:password@]host[:port]")
    return base


def _reason(response: httpx.Response) -> str:
    """The first error in the answer's body, as `: CODE, message` (distribution-spec, "Error Codes"), or nothing."""
    body = b""
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > _ERROR_BODY_BYTES_MAX:
            return ""
    try:
        first = json.loads(body)["errors"][0]
        return f": {first['code']}, {first.get('message', '')}"[:_ERROR_TEXT_LENGTH_MAX]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""

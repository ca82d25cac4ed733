"""Where a registry sends its clients for a blob: the storage behind it, which gets no credentials of the farm.

distribution answers 307 with a signed address if its blobs are in S3, GCS or Azure. Digests check what comes.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import httpx

from buildfarm.errors import RegistryError

REDIRECTS_MAX = 3
_STATUSES = (301, 302, 303, 307, 308)
# Nothing else of a request goes along.
_HEADERS = ("Accept-Encoding", "Range")


class Elsewhere:
    """Requests without credentials; safe to use from several threads.

    ``ca`` is a file of certificates that are trusted beside the usual ones.
    """

    def __init__(self, ca: Path | None) -> None:
        self._ca = ca
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def send(self, request: httpx.Request) -> httpx.Response:
        """The answer, to be read and closed."""
        with self._lock:  # made for the first redirect: most registries send none
            self._client = self._client or self._make()
        return self._client.send(request, stream=True)

    def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            self._client.close()

    def _make(self) -> httpx.Client:
        trusted = ssl.create_default_context()
        if self._ca is not None:
            trusted.load_verify_locations(self._ca)
        return httpx.Client(verify=trusted, trust_env=False)


def next_request(response: httpx.Response) -> httpx.Request | None:
    """The request that follows this answer if it redirects a read of a blob; None if it does not.

    Raises RegistryError if its address is not valid, or leaves TLS.
    """
    asked, location = response.request, response.headers.get("Location")
    if response.status_code not in _STATUSES or asked.method not in ("GET", "HEAD") or not location:
        return None
    try:
        url = asked.url.join(location)
    except httpx.InvalidURL as error:
        raise RegistryError(f"The registry redirects {asked.url.path} to an address that is not valid.") from error
    if url.scheme not in ("http", "https") or not url.host or (asked.url.scheme == "https" and url.scheme == "http"):
        raise RegistryError(
            f"The registry redirects {asked.url.path} to {url.host!r} without TLS.",
            advice="Let the storage behind the registry have an https address.",
        )
    headers = {name: asked.headers[name] for name in _HEADERS if name in asked.headers}
    timeout = {"timeout": asked.extensions.get("timeout", {})}
    return httpx.Request(asked.method, url.copy_with(userinfo=b""), headers=headers, extensions=timeout)

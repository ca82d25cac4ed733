"""Credentials for a registry: basic authentication, or a token for the one repository that a request is about.

A registry that answers with a Bearer challenge gets tokens from its token server (distribution, "Token Authentication
Specification"). Each is for one repository, or for two where a blob is mounted, and lives for minutes: that is all a
request shows to the registry. The user and password go to the token server only.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Generator
from typing import NamedTuple

import httpx

from buildfarm.errors import RegistryError
from buildfarm.oci.retry import UnavailableError

_REPOSITORY = re.compile(r"^/v2/(.+)/(?:blobs|manifests|tags)/")
_PARAMETER = re.compile(r'([a-zA-Z_]+)="([^"]*)"')
_LEAST_SECONDS = 60  # a token that does not say so lives this long, by the specification
_EARLY_SECONDS = 10
_TOKEN_SECONDS = 10.0  # for the token server to answer, also where the registry itself has less
_TOKENS_MAX = 1000  # the oldest go first: a node can name any repository to the signer


class _Token(NamedTuple):
    value: str
    until: float  # by the monotonic clock


class RegistryAuth(httpx.Auth):
    """Answers the registry's challenges; safe to use from several threads."""

    requires_response_body = False

    def __init__(self, user: str, password: str) -> None:
        self._basic = httpx.BasicAuth(user, password)
        self._user = user
        self._challenge: dict[str, str] | None = None  # of the registry, once it asked for tokens
        self._tokens: dict[str, _Token] = {}
        self._lock = threading.Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """One request, with a token if the registry requires one; a refused token is replaced once.

        Raises RegistryError if there is none to be had.
        """
        scopes = scopes_of(request)
        if self._challenge is None:
            if self._user:
                request.headers["Authorization"] = self._basic._auth_header
            response = yield request
            challenge = response.headers.get("WWW-Authenticate", "")
            if response.status_code != 401 or not challenge.lower().startswith("bearer "):
                return
            self._challenge = dict(_PARAMETER.findall(challenge))
            if not can_be_sent_again(request):
                return
        token = self._known(scopes)
        if token is None:
            token = yield from self._fetch(request, scopes)
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401:
            with self._lock:
                self._tokens.pop(" ".join(scopes), None)
            if can_be_sent_again(request):
                token = yield from self._fetch(request, scopes)
                request.headers["Authorization"] = f"Bearer {token}"
                yield request

    def _known(self, scopes: tuple[str, ...]) -> str | None:
        with self._lock:
            token = self._tokens.get(" ".join(scopes))
        return token.value if token and token.until > time.monotonic() else None

    def _fetch(self, request: httpx.Request, scopes: tuple[str, ...]) -> Generator[httpx.Request, httpx.Response, str]:
        challenge = self._challenge or {}
        try:
            realm = httpx.URL(challenge.get("realm", ""))
        except httpx.InvalidURL as error:
            raise RegistryError("The registry's token server has no address.") from error
        # The password must not leave TLS because a registry says so.
        if realm.scheme not in ("http", "https") or (request.url.scheme == "https" and realm.scheme != "https"):
            raise RegistryError(f"The registry asks for the password to be sent to {realm.host!r} without TLS.")
        query = {"service": challenge.get("service", ""), "scope": list(scopes)}
        limits = {"timeout": httpx.Timeout(_TOKEN_SECONDS).as_dict()}  # by itself it would have none
        ask = httpx.Request("GET", realm.copy_merge_params(query), extensions=limits)
        if self._user:
            ask.headers["Authorization"] = self._basic._auth_header
        answer = yield ask
        answer.read()
        if answer.status_code >= 500 or answer.status_code == 429:
            raise UnavailableError(f"The registry's token server {realm.host} answers {answer.status_code}.")
        try:
            body = answer.json()
            value = str(body.get("token") or body["access_token"])
            seconds = float(body.get("expires_in") or _LEAST_SECONDS)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise RegistryError(
                f"The registry's token server {realm.host} returned no token ({answer.status_code}).",
                advice="Check the user and password in the farm's registry address.",
            ) from error
        with self._lock:
            self._tokens.pop(" ".join(scopes), None)
            if len(self._tokens) >= _TOKENS_MAX:
                del self._tokens[next(iter(self._tokens))]
            self._tokens[" ".join(scopes)] = _Token(value, time.monotonic() + max(seconds - _EARLY_SECONDS, 1))
        return value


def scopes_of(request: httpx.Request) -> tuple[str, ...]:
    """What a token must allow for this request: its own repository, and the one that a blob is taken over from."""
    found = _REPOSITORY.match(request.url.path)
    if not found:
        return ()
    actions = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(request.method, "pull,push")
    scopes = [f"repository:{found[1]}:{actions}"]
    source = request.url.params.get("from")
    if request.method == "POST" and source:
        scopes.append(f"repository:{source}:pull")
    return tuple(scopes)


def can_be_sent_again(request: httpx.Request) -> bool:
    """Whether its body can be sent twice; a layer's, made while it is sent, cannot."""
    return not isinstance(request.stream, httpx.SyncByteStream) or isinstance(request.stream, httpx.ByteStream)

"""Which credential an address gets: the app's before its tenant's, then the one with the longest path. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from buildfarm.fields import as_url
from buildfarm.sources.credentials import Kind

_KINDS = {"ssh": Kind.SSH_KEY, "https": Kind.TOKEN, "oci": Kind.REGISTRY}
# git decodes the whole of an ssh address before it looks for the host, and knows neither ? nor #.
_AMBIGUOUS = re.compile(r"[%?#\\\s\x00-\x1f\x7f]")
_USUAL_PORTS = {"ssh": 22, "https": 443, "oci": 443}


class Scoped(Protocol):
    """What a choice needs of a credential."""

    @property
    def name(self) -> str: ...
    @property
    def app(self) -> str | None: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def address(self) -> str: ...


S = TypeVar("S", bound=Scoped)


def place_of(url: str) -> tuple[Kind, str] | None:
    """The kind of credential that opens an address, and the address as credentials name it; None if none can."""
    try:
        parts = urlsplit(as_url(url))
        kind, host, port = _KINDS.get(parts.scheme), parts.hostname, parts.port
    except ValueError:
        return None
    if kind is None or not host or (kind is Kind.SSH_KEY and _AMBIGUOUS.search(url)):
        return None
    place = host if port in (None, _USUAL_PORTS[parts.scheme]) else f"{host}:{port}"
    path = re.split(r"[@:]", parts.path)[0] if kind is Kind.REGISTRY else parts.path
    if ".." in path.split("/") or "%" in path:
        return None  # it leads elsewhere than it says
    return kind, posixpath.join(place, path.strip("/")).rstrip("/").removesuffix(".git")


def choose(credentials: Iterable[S], url: str) -> S | None:
    """The credential for this address, or None."""
    place = place_of(url)
    if place is None:
        return None
    kind, wanted = place
    kinds = (Kind.TOKEN, Kind.PUBLIC) if kind is Kind.TOKEN else (kind,)
    fitting = [one for one in credentials if one.kind in kinds and _covers(one.address, wanted)]
    return min(
        fitting, default=None,
        key=lambda one: (one.app is None, -len(one.address), one.kind is Kind.PUBLIC, one.name),
    )  # fmt: skip


def lacking(credentials: Iterable[S], urls: Iterable[str]) -> str:
    """The first of these addresses that nothing but a credential opens, and that has none; empty if there is none."""
    known = list(credentials)
    return next((url for url in urls if needs_one(url) and choose(known, url) is None), "")


def needs_one(url: str) -> bool:
    """Whether an address cannot be fetched without a credential."""
    return as_url(url).startswith(("ssh://", "oci://"))


def advice_for(url: str, owner: str = "TENANT/APP") -> str:
    """What to do for an address that has no credential."""
    kind, place = place_of(url) or (Kind.SSH_KEY, "HOST/PATH")
    return f"Set one: buildfarm credentials set NAME --app {owner} --kind {kind} --for {place}."


def _covers(address: str, wanted: str) -> bool:
    mine = address.removesuffix(".git")
    return wanted == mine or wanted.startswith(mine + "/")

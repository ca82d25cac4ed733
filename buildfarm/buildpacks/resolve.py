"""Vendors' names and addresses of buildpacks, resolved to commits.

These requests are made from the caller's own machine, as in `buildfarm.buildpacks.pin`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from buildfarm.buildpacks.address import Buildpack, GitBuildpack
from buildfarm.buildpacks.pin import list_refs, parsed
from buildfarm.buildpacks.repository import check_files
from buildfarm.buildpacks.vendors import newest_tag, read_vendors
from buildfarm.errors import RequestError

_AT_ONCE = 4  # requests to a vendor's git host


@dataclass(frozen=True)
class Resolved:
    """A pinned buildpack, and the ref that it was named by; empty if it was named by its digest."""

    buildpack: Buildpack
    ref: str


def resolve(words: Sequence[str], pin: Callable[[str], Buildpack], mirror: str = "") -> list[Resolved]:
    """Resolve vendors' names and buildpacks to pinned buildpacks, in their order.

    ``pin`` resolves one that is not a vendor's. ``mirror`` replaces scheme and host of vendors' addresses. Every git
    repository must be a buildpack at its commit. Raises RequestError that names the one that cannot be used, and what
    ``pin`` raises.
    """
    vendors = read_vendors()
    addresses = [
        address
        for word in words
        for address in (_mirrored(vendors[word].addresses, mirror) if word in vendors else (word,))
    ]
    with ThreadPoolExecutor(_AT_ONCE, "vendor") as pool:
        found = [pool.submit(_resolve_one, address, pin) for address in addresses]
        try:
            return [item.result() for item in found]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _mirrored(addresses: Sequence[str], mirror: str) -> tuple[str, ...]:
    if not mirror:
        return tuple(addresses)
    return tuple(mirror.rstrip("/") + address[address.index("/", len("https://")) :] for address in addresses)


def _resolve_one(address: str, pin: Callable[[str], Buildpack]) -> Resolved:
    url, _, ref = address.partition("#")
    if ref.endswith("*") and isinstance(parsed(url), GitBuildpack):
        names = [name.removeprefix("refs/tags/") for name in list_refs(url, ["refs/tags/*"]) if "^" not in name]
        ref = newest_tag(names, ref)
        if not ref:
            raise RequestError(f"{url} has no tag of a release.", advice="Name a branch or commit: URL#REF.")
        address = f"{url}#refs/tags/{ref}"
    buildpack = pin(address)
    if isinstance(buildpack, GitBuildpack):
        check_files(buildpack)
        return Resolved(buildpack, "" if ref == buildpack.ref else ref or "HEAD")
    return Resolved(buildpack, "")

"""What an image was made of, by digest: the resolved dependencies of its provenance. Pure."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from urllib.parse import urlsplit, urlunsplit

from buildfarm.buildpacks.address import (
    ArchiveBuildpack,
    ArtifactBuildpack,
    GitBuildpack,
    RegistryBuildpack,
    parse_buildpack,
)
from buildfarm.model import BUILDPACKS_MAX, UsedBuildpack
from buildfarm.sources.address import ArchiveSource, ArtifactSource, GitSource, Source

Descriptor = dict[str, object]

# In-toto's field for what no other one has. A node's word is not checked: it runs beside the tenants' code.
_BY_NODE = {"annotations": {"buildfarm_reportedBy": "node"}}
_URL_VARIABLE = "BUILDPACK_URL"  # the config var that names a build's buildpack, if the request names none
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def image(name: str, host: str, reference: str) -> Descriptor:
    """Something in the farm's registry, as repository@digest."""
    return {"name": name, "uri": f"oci://{host}/{reference}", "digest": _digest(reference.partition("@")[2])}


def source(found: Source, host: str, commit: str = "") -> Descriptor:
    """An app's source; ``commit`` is what a branch stood for, by the node's word."""
    if isinstance(found, ArtifactSource):
        return image("source", host, f"{found.repository}@{found.digest}")
    if isinstance(found, ArchiveSource):
        return {"name": "source", "uri": plain(found.url), "digest": {"sha256": found.sha256}}
    uri = _git_uri(found.url, found.ref)
    if _COMMIT.fullmatch(found.ref):
        return {"name": "source", "uri": uri, "digest": {"gitCommit": found.ref}}
    digest = {"digest": {"gitCommit": commit}} if _COMMIT.fullmatch(commit) else {}
    return {"name": "source", "uri": uri, **digest, **_BY_NODE}


def buildpacks(
    asked: Iterable[str], used: Iterable[UsedBuildpack], host: str, config: Container[str] = ()
) -> Iterator[Descriptor]:
    """Those from elsewhere than the base and the source, which pin their own.

    ``asked`` are those that the record names and that all run: what it pins is certain. The others are a node's word.
    ``config`` are names of the config vars. An address that is the value of one is left out: no value is published.
    """
    named = tuple(dict.fromkeys(asked))
    certain = {text: one for text in named if (one := _buildpack(text, host))}
    yield from certain.values()
    hidden = {"name": f"buildpack/{_URL_VARIABLE}"} if not named and _URL_VARIABLE in config else {}
    for text in list(dict.fromkeys(item.source for item in used))[:BUILDPACKS_MAX]:
        if text not in certain and (found := _buildpack(text, host)):
            yield {**({"digest": found["digest"], **hidden} if hidden else found), **_BY_NODE}


def source_parameter(found: Source) -> dict[str, object]:
    """The source as it was asked for, without what may be a token in its address."""
    told: dict[str, object] = found.model_dump(mode="json")
    return told | {"url": plain(found.url)} if isinstance(found, GitSource | ArchiveSource) else told


def plain(address: str) -> str:
    """An address without what may be a token: its query, and what is before the host, but for a user of ssh.

    Empty if it cannot be read as an address.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    if not parts.scheme or not parts.netloc:
        return address
    before, _, host = parts.netloc.rpartition("@")
    user = before.partition(":")[0] if parts.scheme == "ssh" else ""
    return urlunsplit(parts._replace(netloc=f"{user}@{host}" if user else host, query=""))


def _buildpack(text: str, host: str) -> Descriptor | None:
    """None for one without a digest, and for one of the builder's own or of the source."""
    try:
        found = parse_buildpack(text)
        name = f"buildpack/{found.name}"
    except ValueError:
        return None
    if isinstance(found, GitBuildpack) and found.pinned:
        return {"name": name, "uri": _git_uri(found.url, found.ref), "digest": {"gitCommit": found.ref}}
    if isinstance(found, ArchiveBuildpack) and found.pinned:
        return {"name": name, "uri": plain(found.url), "digest": {"sha256": found.sha256}}
    if isinstance(found, ArtifactBuildpack) and found.pinned:
        return image(name, host, f"{found.repository}@{found.reference}")
    if isinstance(found, RegistryBuildpack) and found.pinned:
        return image(name, found.host, f"{found.repository}@{found.reference}")
    return None


def _git_uri(url: str, ref: str) -> str:
    """As SPDX writes downloads (spdx.github.io, "Package download location field")."""
    address = plain(url)
    return f"{address if address.startswith('git:') else f'git+{address}'}@{ref}"


def _digest(text: str) -> dict[str, str]:
    algorithm, _, value = text.partition(":")
    return {algorithm: value}

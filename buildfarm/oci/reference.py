"""Where an image is kept: registry, repository, and the tag or digest in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from buildfarm.oci.digest import Digest

# OCI distribution-spec, section "Pulling manifests": the grammars of <name> and of <reference> as a tag. Both repeats
# are possessive, so that a long hostile name costs no backtracking.
_REPOSITORY = re.compile(r"[a-z0-9]++(?:(?:\.|_|__|-+)[a-z0-9]++)*+(?:/[a-z0-9]++(?:(?:\.|_|__|-+)[a-z0-9]++)*+)*+")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = re.compile(rf"(?:{_HOST}(?:\.{_HOST})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?")

# The same section: many clients take no more than 255 characters of host, slash and name together.
_REPOSITORY_LENGTH_MAX = 255


@dataclass(frozen=True)
class Reference:
    """``registry/repository[:tag][@digest]``; a digest, where there is one, says more than the tag beside it.

    The registry is always named: there is no default one to fall back on. Raises ValueError when a part breaks the
    grammar of the OCI distribution-spec, section "Pulling manifests".
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        if not _REGISTRY.fullmatch(self.registry):
            raise ValueError(f"{self.registry[:80]!r} is not a registry: expected a host name and perhaps a port")
        check_repository(self.repository)
        if self.tag is not None:
            check_tag(self.tag)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read ``host:port/repo/name:tag@sha256:...``; tag and digest may be left out. Raises ValueError."""
        registry, slash, rest = text.partition("/")
        if not slash:
            raise ValueError(f"{text[:80]!r} is not an image reference: expected registry/repository[:tag][@digest]")
        name, at, digest = rest.partition("@")
        repository, colon, tag = name.partition(":")
        return cls(registry, repository, tag if colon else None, Digest(digest) if at else None)

    def __str__(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        digest = "" if self.digest is None else f"@{self.digest}"
        return f"{self.registry}/{self.repository}{tag}{digest}"


def check_repository(name: str) -> str:
    """Give the name back when it can be a repository's; raises ValueError otherwise."""
    if len(name) > _REPOSITORY_LENGTH_MAX or not _REPOSITORY.fullmatch(name):
        raise ValueError(
            f"{name[:80]!r} is not a repository name: expected lower-case letters and digits, parted by single "
            f"dots, one or two underscores, hyphens or slashes, and at most {_REPOSITORY_LENGTH_MAX} characters"
        )
    return name


def check_tag(name: str) -> str:
    """Give the name back when it can be a tag; raises ValueError otherwise."""
    if not _TAG.fullmatch(name):
        raise ValueError(
            f"{name[:80]!r} is not a tag: expected up to 128 letters, digits, dots, underscores and hyphens, "
            "the first of them neither a dot nor a hyphen"
        )
    return name

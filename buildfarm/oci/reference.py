"""The grammar of image references: the registry's host, repository names and tags."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# OCI distribution-spec, section "Pulling manifests": the grammars of <name> and of <reference> as a tag. Both repeats
# are possessive, so that a long hostile name costs no backtracking.
_REPOSITORY = re.compile(r"[a-z0-9]++(?:(?:\.|_|__|-+)[a-z0-9]++)*+(?:/[a-z0-9]++(?:(?:\.|_|__|-+)[a-z0-9]++)*+)*+")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")

# The same section: many clients take no more than 255 characters of host, slash and name together.
_REPOSITORY_LENGTH_MAX = 255

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def host_of(url: str) -> str:
    """``host[:port]`` of a registry's address, with which the references of its images begin."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))
    return host if host.isascii() else host.encode("idna").decode()


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

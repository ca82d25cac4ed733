"""The grammar of image references: the registry's host, repository names and tags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from buildfarm import LazyModule

if TYPE_CHECKING:
    from buildfarm.oci import connection as connections
else:  # it imports httpx, which takes long
    connections = LazyModule("buildfarm.oci.connection")

# OCI distribution-spec, section "Pulling manifests": the grammars of <name> and of <reference> as a tag. Both repeats
# are possessive, so that a long hostile name costs no backtracking.
_REPOSITORY = re.compile(r"[a-z0-9]++(?:(?:\.|_|__|-+)[a-z0-9]++)*+(?:/[a-z0-9]++(?:(?:\.|_|__|-+)[a-z0-9]++)*+)*+")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")

# The same section: many clients take no more than 255 characters of host, slash and name together.
_REPOSITORY_LENGTH_MAX = 255

# Addresses as nearly all are: ASCII, a name whose last label begins with a letter or four numbers, perhaps a port.
_NUMBER = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_NAME = "(?:[A-Za-z0-9-]+[.])*+[A-Za-z][A-Za-z0-9-]*"
_USER = "[A-Za-z0-9._~%:+-]*@"
_USUAL_URL = re.compile(rf"(https?)://(?:{_USER})?({_NAME}|(?:{_NUMBER}[.]){{3}}{_NUMBER})(?::([0-9]{{0,5}}))?/?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def host_of(url: str) -> str:
    """``host[:port]`` of a registry's address, with which the references of its images begin.

    It is the ``host`` of a `Connection` to it. Raises ValueError if that does.
    """
    usual = _USUAL_URL.fullmatch(url)
    if usual is None:
        return connections.host_of(url)
    scheme, host, port = usual.groups()
    number = int(port) if port else None
    return host.lower() if number in (None, _DEFAULT_PORTS[scheme]) else f"{host.lower()}:{number}"


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

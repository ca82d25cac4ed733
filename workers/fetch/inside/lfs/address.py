"""The LFS server of a repository, and which addresses get the credential. Pure.

Source: github.com/git-lfs/git-lfs, "Server Discovery" (api/server-discovery.md).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from workers.fetch.inside.refused import RefusedError

_PORTS = {"https": 443, "http": 80, "ssh": 22}
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]*)?")  # what all readers of addresses read alike
_SCHEMES = {"token": "https", "ssh-key": "ssh"}  # by the kind of the credential


def server_of(job: dict[str, Any], named: str) -> str:
    """The LFS server's address: that of ``.lfsconfig`` if it names one, else the usual one of the repository.

    Of a repository over ssh it is an address of ssh, which git-lfs-authenticate is asked for.
    Raises RefusedError if the one that is named is on another host, or not below the credential's address.
    """
    url = urlsplit(job["url"])
    if named:
        other = _split(named)
        is_elsewhere = _where(other) != _where(url) or _where(url) is None
        # With ? or # in it, what is asked for would not end as the paths of LFS servers do.
        if is_elsewhere or re.search(r"[?#\\]", named) or (job["kind"] and not covers(job, named)):
            raise RefusedError("lfs-host", _shown(other, named))
        return named.rstrip("/")
    if url.scheme == "ssh":
        return str(job["url"])
    path = url.path.rstrip("/").removesuffix(".git")
    before = f"https://{url.hostname}" if url.scheme == "git" else f"{url.scheme}://{url.netloc}"
    return f"{before}{path}.git/info/lfs"


def covers(job: dict[str, Any], url: str) -> bool:
    """Whether the job's credential is for this address: by its protocol, on its host, and at or below its path."""
    parts = _split(url)
    place, path = _where(parts), parts.path
    if place is None or place[0] != _SCHEMES.get(job["kind"]) or re.search(r"[?#%\\]", url):
        return False
    if re.search(r"/\.\.?(/|$)|//", path):
        return False
    scheme, host, port = place
    full, mine = f"{host}{'' if port == _PORTS[scheme] else f':{port}'}/{path.strip('/')}", job["address"]
    return full in (mine, f"{mine}.git") or full.startswith((f"{mine}/", f"{mine}.git/"))


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url) if url.isprintable() and " " not in url else urlsplit("")
    except ValueError:
        return urlsplit("")


def _where(url: SplitResult) -> tuple[str, str, int] | None:
    """Protocol, host and port; None if it is not an address, or has a login."""
    try:
        port = _PORTS[url.scheme] if url.port is None else url.port
    except (ValueError, KeyError):
        return None
    if not _HOST.fullmatch(url.netloc.rpartition("@")[2].lower()):
        return None
    has_login = url.password is not None or (url.username is not None and url.scheme != "ssh")
    return None if has_login or not url.hostname else (url.scheme, url.hostname, port)


def _shown(url: SplitResult, named: str) -> str:
    """An address for a sentence, without a login or a query."""
    if url.hostname:
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"[:200]
    return "".join(letter if letter.isprintable() else "?" for letter in named.rpartition("@")[2])[:200]

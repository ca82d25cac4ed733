"""What is fetched beside a repository, which a request does not say: its submodules and Git LFS files. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Protocol
from urllib.parse import urlsplit

from buildfarm.fields import as_url
from buildfarm.sources.credentials.matching import Scoped, choose


class Asking(Scoped, Protocol):
    """A credential, and whether submodules and Git LFS files are fetched with it."""

    @property
    def submodules(self) -> bool: ...
    @property
    def lfs(self) -> bool: ...


def addresses_of(request: object) -> list[str]:
    """What a request names as its source and its buildpacks; of an image's nothing."""
    buildpacks = [*getattr(request, "buildpacks", ()), *getattr(request, "buildpack_order", ())]
    named = [getattr(getattr(request, "source", None), "url", ""), *buildpacks]
    return [name for name in named if "://" in name or "@" in name]


def fetches_more(credentials: Iterable[Asking], names: Iterable[str]) -> bool:
    """Whether the submodules or Git LFS files of a source or a buildpack of these names are fetched."""
    known = list(credentials)
    chosen = [choose(known, name.partition("#")[0]) for name in names]
    return any(one is not None and (one.submodules or one.lfs) for one in chosen)


def submodule_url(parent: str, url: str) -> str:
    """A submodule's address, which is relative to its repository's if it begins with a dot (gitmodules(5))."""
    if not url.startswith(("./", "../")):
        return as_url(url)
    parts = urlsplit(as_url(parent))
    path = posixpath.normpath(posixpath.join(parts.path, url))
    return parts._replace(path=path).geturl()

"""Reads manifests over the registry's API. Of each it keeps what it names and the sizes, not its bytes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product

from buildfarm.gc.content import Content
from buildfarm.gc.over_api.listing import Place
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry

_READERS = 8


@dataclass
class Reading:
    """One registry's manifests. Every method raises RegistryError."""

    registry: Registry
    contents: dict[str, Content] = field(default_factory=dict)  # what each is made of and about
    sizes: dict[str, int] = field(default_factory=dict)  # of all blobs that they name, and of themselves
    _asked: set[Place] = field(default_factory=set)

    def read(self, repository: str, reference: str) -> str:
        """The digest of the manifest under this tag or digest; empty if there is none."""
        try:
            _, content, digest = self.registry.get_manifest(repository, reference)
        except NotInRegistryError:
            return ""
        self.contents[digest] = Content.parse(content)
        self.sizes.update({str(digest): len(content), **_sizes_in(content)})
        return str(digest)

    def read_all(self, places: Collection[Place]) -> list[str]:
        """The digest of each; empty for those that are not there."""
        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(lambda place: self.read(*place), places))

    def tags(self, repository: str) -> dict[str, str]:
        """The tags of a repository, and the digest that each points to."""
        with suppress(NotInRegistryError):
            tags = list(self.registry.tags(repository))
            digests = self.read_all([(repository, tag) for tag in tags])
            return {tag: digest for tag, digest in zip(tags, digests, strict=True) if digest}
        return {}

    def look_for(self, digests: Iterable[str], repositories: Iterable[str]) -> None:
        """Reads those whose content is not known in each of these repositories, once."""
        unknown = {digest for digest in digests if digest not in self.contents and _is_digest(digest)}
        places = [place for place in product(repositories, sorted(unknown)) if place not in self._asked]
        self._asked.update(places)
        self.read_all(places)

    def made_of(self, digests: Iterable[str]) -> set[str]:
        """These, and all that they are made of, as far as it was read."""
        found, waiting = set[str](), list(digests)
        while waiting:
            digest = waiting.pop()
            if digest not in found:
                found.add(digest)
                waiting += self.contents.get(digest, Content()).names
        return found


def _is_digest(text: str) -> bool:
    with suppress(ValueError):
        return bool(Digest(text))
    return False


def _sizes_in(content: bytes) -> dict[str, int]:
    """The bytes of what a manifest names, as it says itself."""
    found = json.loads(content)
    parts = [found.get("config"), *(found.get("layers") or ())]
    return {str(part["digest"]): int(part["size"]) for part in parts if isinstance(part, dict) and "size" in part}

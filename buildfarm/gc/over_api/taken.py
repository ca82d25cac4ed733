"""Manifests on their way out: their bytes, which are in the registry until it is known that nothing needs them."""

from __future__ import annotations

import base64
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from buildfarm.errors import RegistryError
from buildfarm.gc.content import Content
from buildfarm.gc.over_api.artifact import Artifact
from buildfarm.gc.over_api.listing import Place
from buildfarm.gc.storage import Stored
from buildfarm.oci.connection import MissingBlobError
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.telemetry import logger


@dataclass(frozen=True)
class Taken:
    """A manifest that is deleted, with what it takes to put it back."""

    repository: str
    tags: tuple[str, ...]
    media_type: str
    content: bytes

    @property
    def place(self) -> Place:
        """Where it was."""
        return self.repository, str(Digest.of(self.content))

    def put_back(self, registry: Registry) -> None:
        """Also under the tags that it had, of which another push may have taken some. Raises RegistryError."""
        registry.put_manifest(self.repository, self.content, self.media_type, tag=None)
        for tag in self.tags:
            if not registry.has_manifest(self.repository, tag):
                registry.put_manifest(self.repository, self.content, self.media_type, tag=tag)


def put_back(registry: Registry, taken: Sequence[Taken]) -> None:
    """Each, whatever befalls the others. They are in the order in which they went, so parts are the last."""
    failures: list[tuple[Taken, RegistryError]] = []
    for item in reversed(taken):
        try:
            item.put_back(registry)
        except RegistryError as error:
            failures.append((item, error))
    if failures:
        item, first = failures[0]
        raise RegistryError(
            f"{len(failures)} manifests that were deleted could not be put back, the first of them"
            f" {'@'.join(item.place)}: {first.message}",
            advice="Run buildfarm gc with a new listing: it tries again first.",
        ) from first


@dataclass(frozen=True)
class Journal:
    """What a collection had begun to delete, for the next one. Raises RegistryError."""

    registry: Registry

    def begin(self, taken: Sequence[Taken]) -> None:
        """From now on these may be missing."""
        self._artifact.write({"taken": [_encode(item) for item in taken]})

    def end(self, gone: Sequence[Taken] = ()) -> None:
        """Nothing that is known to be needed is missing; these are gone."""
        self._artifact.write({"gone": [_encode(item) for item in gone]})

    def missed(self, staying: Iterable[Stored], used: Container[str]) -> list[Place]:
        """Puts back what the last one deleted, and what is there or used names by now.

        Its push, which had found it, took longer than that collection waited.
        """
        named, late = {(item.repository, name) for item in staying for name in item.names}, list[Taken]()
        for item in map(_decode, self._artifact.read().get("gone", ())):  # wholes first
            if item.place in named or item.place[1] in used:
                named |= {(item.repository, name) for name in Content.parse(item.content).names}
                if not self.registry.has_manifest(*item.place):
                    late.append(item)
        self._put_back(late)
        return [item.place for item in late]

    def recover(self) -> list[Place]:
        """Puts back what one that died had begun to delete."""
        taken = [_decode(found) for found in self._artifact.read().get("taken", ())]
        self._put_back(taken)
        if taken:
            logger().warning("deleting_was_cut_short", put_back=len(taken))
            self.end()
        return [item.place for item in taken]

    def _put_back(self, taken: Sequence[Taken]) -> None:
        for item in reversed(taken):
            with suppress(MissingBlobError):  # for good: the registry's own collector ran in between
                item.put_back(self.registry)

    @property
    def _artifact(self) -> Artifact:
        return Artifact(self.registry, "deleting")


def _encode(item: Taken) -> dict[str, object]:
    content = base64.b64encode(item.content).decode()
    return {"repository": item.repository, "tags": item.tags, "media_type": item.media_type, "content": content}


def _decode(found: dict[str, str]) -> Taken:
    content = base64.b64decode(found["content"])
    return Taken(found["repository"], tuple(found["tags"]), found["media_type"], content)

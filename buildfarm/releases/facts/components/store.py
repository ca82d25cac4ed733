"""Components of layers in Redis, by diff ID, and which layers apps' newest images have.

Both follow from what the registry has: what is lost here, or expires, is read again by the nodes.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any

from buildfarm.oci.digest import Digest
from buildfarm.releases.facts.components.layer import LayerComponents, check_size, decode
from buildfarm.releases.facts.store import components_key, failed_key
from buildfarm.store.database import Database

KEPT_SECONDS = 7 * 86_400  # since the newest read
_AT_ONCE = 50
_NOTHING_UNREAD = b'"unread":{}'  # a name in the list has its quotes escaped
_ASK_SECONDS = 300  # between two requests
_ASKED_MAX = 500  # images of a request
_TAKEN = "[]"

FAILED = LayerComponents.unknown("a layer could not be read")  # for now: it is tried again


@dataclass(frozen=True)
class ImageLayers:
    """A base, or an app's newest image without its base. Times are when the farm first saw it so, by Redis's clock."""

    digest: str
    base: str  # repository@digest; empty if the image does not name it
    base_since: float
    layers: Mapping[str, float]  # its own, from the bottom up: since when each is there

    def after(self, before: ImageLayers | None, now: float) -> ImageLayers:
        """The same with the times of what ``before`` had already."""
        known = before.layers if before else {}
        base_since = before.base_since if before and before.base == self.base else now
        return ImageLayers(self.digest, self.base, base_since, {one: known.get(one, now) for one in self.layers})


@dataclass(frozen=True)
class ComponentStore:
    """Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def get(self, diff_ids: Iterable[Digest | str]) -> dict[str, LayerComponents]:
        """The components of those layers that were read; asking keeps them."""
        wanted = [str(one) for one in dict.fromkeys(diff_ids)]
        found: dict[str, LayerComponents] = {}
        for at in range(0, len(wanted), _AT_ONCE):
            some = wanted[at : at + _AT_ONCE]
            with self.database.failures():
                pipeline: Any = self.database.client.pipeline(transaction=False)
                for one in some:
                    pipeline.getex(self._key(one), ex=KEPT_SECONDS)
                    pipeline.exists(failed_key(self.database, Digest(one)))
                texts = pipeline.execute()
            for one, text, has_failed in zip(some, texts[::2], texts[1::2], strict=True):
                if text is not None:
                    found[one] = _decoded(text)
                elif has_failed:
                    found[one] = FAILED
        return found

    def put(self, diff_id: Digest | str, packed: bytes, *, of_base: bool) -> None:
        """Keeps what the inspector wrote of a layer, if it can be read; else the reason why it cannot."""
        try:
            check_size(packed, of_base=of_base)
            decode(packed)
        except ValueError as error:
            packed = LayerComponents.unknown(str(error)).encode_unread()
        with self.database.failures():
            self.database.client.set(self._key(diff_id), base64.b64encode(packed).decode(), ex=KEPT_SECONDS)

    def naming(self, diff_ids: Iterable[str], is_in: Callable[[bytes], bool]) -> tuple[set[str], set[str], set[str]]:
        """Of these layers, those in whose lists it is, those that are not known, and those known in part."""
        having, unknown, partly = set[str](), set[str](), set[str]()
        wanted = list(dict.fromkeys(diff_ids))
        for at in range(0, len(wanted), _AT_ONCE):
            some = wanted[at : at + _AT_ONCE]
            with self.database.failures():
                texts: Any = self.database.client.mget([self._key(one) for one in some])
                failed: Any = self.database.client.mget([failed_key(self.database, Digest(one)) for one in some])
            for one, text, has_failed in zip(some, texts, failed, strict=True):
                if text is None:
                    (partly if has_failed else unknown).add(one)
                    continue
                content = zlib.decompress(base64.b64decode(text))
                if is_in(content):
                    having.add(one)
                if _NOTHING_UNREAD not in content:
                    partly.add(one)
        return having, unknown, partly

    def note_image(self, name: str, digest: str, base: str, diff_ids: Iterable[Digest | str]) -> None:
        """What an app's newest image, apps/TENANT/APP, or a base, repository@digest, is made of.

        Without layers: it cannot be read now. What is known of the same image stays.
        """
        now = self.database.now()
        key = self.database.key("components-images")
        with self.database.failures():
            text: Any = self.database.client.hget(key, name)
            before = _image(text) if text else None
            layers = dict.fromkeys(map(str, diff_ids), now)
            if before and before.digest == digest and before.layers and not layers:
                return
            image = ImageLayers(digest, base, now, layers).after(before, now)
            row = [image.digest, image.base, image.base_since, list(image.layers.items())]
            self.database.client.hset(key, name, json.dumps(row, separators=(",", ":")))

    def images(self) -> dict[str, ImageLayers]:
        """All that are known, by their names."""
        with self.database.failures():
            found: Any = self.database.client.hgetall(self.database.key("components-images"))
        return {name: _image(text) for name, text in found.items()}

    def ask(self, images: Iterable[str]) -> None:
        """Asks the node that looks for new images to look at these again, by name: their layers are not known."""
        if names := list(islice(images, _ASKED_MAX)):
            with self.database.failures():
                self.database.client.set(
                    self.database.key("components-asked"), json.dumps(names), nx=True, ex=_ASK_SECONDS
                )

    def asked(self) -> tuple[str, ...]:
        """For which it was asked since the last call."""
        key = self.database.key("components-asked")
        with self.database.failures():
            text: Any = self.database.client.get(key)
            if text in (None, _TAKEN):
                return ()
            self.database.client.set(key, _TAKEN, keepttl=True, xx=True)
        try:
            return tuple(json.loads(text))
        except ValueError:  # a word of an older version
            return ()

    def keep_images(self, names: Set[str]) -> None:
        """Drops all others: apps that are gone, and bases on which none of these apps stands or is to stand."""
        images = self.images()
        if gone := images.keys() - names - {images[name].base for name in names & images.keys()}:
            with self.database.failures():
                self.database.client.hdel(self.database.key("components-images"), *gone)

    def _key(self, diff_id: Digest | str) -> str:
        return components_key(self.database, Digest(diff_id))


def _decoded(text: str) -> LayerComponents:
    try:
        return decode(base64.b64decode(text))
    except ValueError as error:
        return LayerComponents.unknown(str(error))


def _image(text: str) -> ImageLayers:
    digest, base, base_since, layers = json.loads(text)
    return ImageLayers(digest, base, base_since, dict(layers))

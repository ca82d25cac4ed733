"""Images of earlier recipes, which stay on the engine when a recipe changes: a gigabyte for each builder."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime

import docker
from docker.errors import DockerException

OLD_SECONDS = 7 * 86400.0  # other checkouts on this machine may use theirs


def remove_old(client: docker.DockerClient, name: str, keep: Collection[str]) -> list[str]:
    """Removes old images called ``name/…`` that no container uses, with the images of their steps; which they were."""
    found = client.images.list(filters={"reference": f"{name}/*"})
    made = {tag: made_at(image.attrs) for image in found for tag in image.tags if tag.startswith(f"{name}/")}
    removed = []
    for tag in old(made, keep, time.time()):
        with suppress(DockerException):  # a container stands on it
            client.images.remove(tag)
            removed.append(tag)
    return removed


def old(made: Mapping[str, float], keep: Collection[str], now: float) -> list[str]:
    """The tags that may go: old, not to be kept, and not the newest of their recipe."""
    newest: dict[str, str] = {}
    for tag in sorted(made, key=made.__getitem__):
        newest[tag.partition(":")[0]] = tag
    return sorted(
        tag for tag, at in made.items() if now - at > OLD_SECONDS and tag not in keep and tag not in newest.values()
    )


def made_at(attributes: Mapping[str, object]) -> float:
    """When the engine tagged an image; its config may have another date, for the same bytes. Now if it does not say."""
    metadata = attributes.get("Metadata")
    at = str(metadata.get("LastTagTime") or "") if isinstance(metadata, dict) else ""
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", at)).timestamp()
    except ValueError:
        return time.time()

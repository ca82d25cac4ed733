"""The labels and annotations of an app's image that depend on its base. Pure.

Sources: image-spec annotations.md; Cloud Native Buildpacks' platform.md, "Labels"; what imgutil and crane read and
write when they rebase an image.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from buildfarm.releases.base import Base

LIFECYCLE_LABEL = "io.buildpacks.lifecycle.metadata"
REBASABLE_LABEL = "io.buildpacks.rebasable"
BASE_NAME, BASE_DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"

# A rebase gives an image its base's labels with these names, and no others.
_OF_THE_BASE = ("io.buildpacks.base.", "io.buildpacks.stack.")


def own_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Those that a release keeps: the others follow the base."""
    return {
        name: value
        for name, value in labels.items()
        if not name.startswith(_OF_THE_BASE) and name not in (BASE_NAME, BASE_DIGEST)
    }


def base_names(base: Base, name: str) -> dict[str, str]:
    """What an image says of its base. ``name`` is a whole reference, under which newer bases will be found."""
    return {BASE_NAME: name, BASE_DIGEST: base.digest}


def labels_on(own: Mapping[str, str], base: Base, name: str, host: str) -> dict[str, str]:
    """An app's labels in an image on this base, beside those that the base has."""
    labels = {**own, **base_names(base, name)}
    if LIFECYCLE_LABEL in own:
        labels[LIFECYCLE_LABEL] = _with_run_image(own[LIFECYCLE_LABEL], base, name, host)
    return labels


def compact(value: Any) -> str:
    """JSON as these labels have it: equal values have equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _with_run_image(lifecycle: str, base: Base, name: str, host: str) -> str:
    told = json.loads(lifecycle)
    run_image = {
        **told.get("runImage", {}),
        "topLayer": base.config.diff_ids[-1],
        "reference": f"{host}/{base.reference}",
        "image": name,
    }
    return compact({**told, "runImage": run_image})

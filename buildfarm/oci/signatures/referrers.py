"""The index by which an image's referrers are found in a registry that does not list them; no I/O.

Source: OCI distribution-spec v1.1, "Referrers Tag Schema". The registry 2.8.3 keeps ``subject`` and lists nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import INDEX_TYPES, canonical_json


def tag_of(digest: Digest) -> str:
    """The tag at which the index of an image's referrers is."""
    return f"sha256-{digest.hex}"


def index_of(entries: Iterable[Mapping[str, Any]], before: bytes | None = None, without: Collection[str] = ()) -> bytes:
    """Return the index with these entries and all that are in the index ``before``, but for the digests ``without``.

    The same entries make the same bytes. Raises ValueError if ``before`` is not an index.
    """
    new = {entry["digest"]: entry for entry in entries}
    old = [] if before is None else [entry for entry in listed(before) if entry.get("digest") not in without]
    manifests = [new.pop(entry.get("digest"), entry) for entry in old] + [*new.values()]
    return canonical_json({"schemaVersion": 2, "mediaType": INDEX_TYPES["oci"], "manifests": manifests})


def readable(index: bytes | None) -> bytes | None:
    """The index, if it is one that can be added to; None for anything else that is at its tag."""
    try:
        return index if index is not None and listed(index) is not None else None
    except ValueError:
        return None


def listed(index: bytes) -> list[dict[str, Any]]:
    """The entries of an index. Raises ValueError if it is not one."""
    try:
        manifests = json.loads(index)["manifests"]
        if all(isinstance(entry, dict) for entry in manifests):
            return list(manifests)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ValueError("this is not an index of referrers")

"""What each tenant is charged for: the bytes of its own blobs."""

from __future__ import annotations

from collections.abc import Mapping

from buildfarm.gc.choose import Choice
from buildfarm.store.keeping.usage import KINDS


def usage(choice: Choice, sizes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Bytes of each tenant by the kind of repository, without what the farm's own images share with them."""
    blobs: dict[tuple[str, str], set[str]] = {}
    own: set[str] = set()
    for item, _ in choice.staying:
        kind, _, rest = item.repository.partition("/")
        if kind in KINDS:
            blobs.setdefault((rest.partition("/")[0], kind), set()).update(item.names)
        else:
            own |= item.names
    found: dict[str, dict[str, int]] = {}
    for (tenant, kind), names in sorted(blobs.items()):
        found.setdefault(tenant, {})[kind] = sum(sizes.get(digest, 0) for digest in names - own)
    return found

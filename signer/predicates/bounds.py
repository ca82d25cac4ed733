"""No statement grows without a bound: what is too long in it is replaced by its digest. Pure."""

from __future__ import annotations

import hashlib
from typing import Any

from buildfarm.oci.manifest import canonical_json

PREDICATE_BYTES_MAX = 256 * 1024


def bounded(predicate: dict[str, Any]) -> dict[str, Any]:
    """The predicate with the longest external parameters as SHA-256 of their JSON, until it is short enough.

    No config var looks like such a digest: their values are strings.
    Then without dependencies that are buildpacks. What is left is short: the model bounds every text.
    """
    definition = predicate["buildDefinition"]
    external = dict(definition["externalParameters"])
    for name in sorted(external, key=lambda name: (-_size(external[name]), name)):
        if _size(predicate) <= PREDICATE_BYTES_MAX:
            return predicate
        if isinstance(external[name], list | dict) and external[name]:
            external[name] = {"digest": {"sha256": hashlib.sha256(canonical_json(external[name])).hexdigest()}}
            definition = {**definition, "externalParameters": dict(external)}
            predicate = {**predicate, "buildDefinition": definition}
    if _size(predicate) > PREDICATE_BYTES_MAX:
        found = [one for one in definition["resolvedDependencies"] if not str(one["name"]).startswith("buildpack/")]
        predicate = {**predicate, "buildDefinition": {**definition, "resolvedDependencies": found}}
    return predicate


def _size(value: Any) -> int:
    return len(canonical_json(value))

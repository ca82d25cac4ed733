"""What the record of a build says for its provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from buildfarm.model import Build, BuildResult, UsedBuildpack
from buildfarm.store.records import marks_of


@dataclass(frozen=True)
class Recorded:
    """A build and what its record has beside it. Only ``used`` and ``commit`` are a node's word."""

    build: Build
    config: Mapping[str, str]  # keyed digests of the config vars, by name; empty: the accepting process wrote none
    has_variables: bool  # build variables of the farm, tenant or app count for it
    has_credentials: bool  # likewise
    finished_at: float | None
    used: tuple[UsedBuildpack, ...] = ()
    commit: str = ""  # of the source, by the image's label
    base: str = ""  # that the signer has found under the image, as repository@digest

    @classmethod
    def of(
        cls, build: Build, record: Mapping[str, str], result: BuildResult | None, checked: tuple[str, str] = ("", "")
    ) -> Self:
        """Of a record's hash in Redis; ``result`` is what the node published, and ``checked`` commit and base."""
        told = _json(record.get("declared", ""))
        names: Mapping[str, str] = getattr(build.request, "env", {})
        digests = told.get("config")
        known = digests if isinstance(digests, dict) else {}
        variables, credentials = marks_of(record)
        return cls(
            build,
            {name: f"hmac-sha256:{known[name]}" if name in known else "" for name in sorted(names)},
            variables,
            credentials,
            _seconds(record.get("published_at")) or build.finished_at,
            result.buildpacks if result else (),
            *checked,
        )


def _json(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(text: str | None) -> float | None:
    try:
        return float(text or 0)
    except ValueError:
        return None

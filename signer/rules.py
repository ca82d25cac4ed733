"""What the signer requires of an image before it signs it. Pure.

A build node can only ask. What it cannot get is a signature for another app, tenant, source or base than the record's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from buildfarm.model import Build, BuildRequest
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import ImageConfig
from buildfarm.releases.labels import BASE_DIGEST

TITLE, REVISION = "org.opencontainers.image.title", "org.opencontainers.image.revision"
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True)
class Expected:
    """What the image must be. ``base`` is the digest of the record's base, empty if it has none."""

    repository: str
    title: str  # tenant/app
    revision: str  # of the source; empty: a commit that only the build learned
    base: str

    @classmethod
    def of(cls, build: Build) -> Expected:
        """What a build's record says."""
        request, revision = build.request, ""
        if isinstance(request, BuildRequest):
            known = request.source.version
            revision = known if request.source.kind != "git" or _COMMIT.fullmatch(known) else ""
        return cls(request.repository, f"{request.tenant}/{request.app}", revision, build.base.partition("@")[2])

    @property
    def is_app(self) -> bool:
        """Whether it is an app's image, which stands on a base."""
        return self.repository.startswith("apps/")


def refusal(expected: Expected, repository: str, config: ImageConfig) -> str:
    """Why the image must not be signed, as the end of a sentence; empty if it may be."""
    if repository != expected.repository:
        return f"it is in {repository}, and the build's repository is {expected.repository}"
    return next(_mismatches(expected, labels_of(config)), "") if expected.is_app else ""


def labels_of(config: ImageConfig) -> Mapping[str, Any]:
    """The labels of an image; none if they are not an object."""
    labels = config.runtime.get("Labels")
    return labels if isinstance(labels, dict) else {}


def _mismatches(expected: Expected, labels: Mapping[str, Any]) -> Iterator[str]:
    if labels.get(TITLE) != expected.title:
        yield f"its label {TITLE} does not name {expected.title}"
    if not _is_source(expected.revision, str(labels.get(REVISION, ""))):
        yield f"its label {REVISION} does not name the build's source"
    if expected.base and labels.get(BASE_DIGEST) != expected.base:
        yield f"its label {BASE_DIGEST} does not name the build's base"


def _is_source(expected: str, revision: str) -> bool:
    """Whether a label names the source. If the request names a branch, only the build learned its commit."""
    return revision == expected if expected else bool(_COMMIT.fullmatch(revision))


def stands_on(config: ImageConfig, base: ImageConfig) -> bool:
    """Whether the image's lowest layers are those of the base."""
    below: tuple[Digest, ...] = config.diff_ids[: len(base.diff_ids)]
    return below == base.diff_ids

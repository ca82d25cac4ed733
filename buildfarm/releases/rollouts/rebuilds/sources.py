"""The last source of an app as a new build of least urgency."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Protocol

from buildfarm.model import Build, BuildRequest, RunPolicy, State
from buildfarm.sources.address import ArtifactSource, GitSource

_PAGE = 50
_PAGES_MAX = 20
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Builds(Protocol):
    """What of the farm is needed."""

    def page(
        self, limit: int, *, tenant: str | None = None, app: str | None = None, states: Collection[State] = (),
        after: str = "",
    ) -> tuple[list[Build], str | None]:  # fmt: skip
        """A page of builds, the newest first, and where the next one begins."""

    def has_source(self, packed: ArtifactSource) -> bool:
        """Whether the registry has this source."""


class NoSourceError(Exception):
    """The app cannot be rebuilt; the text says why."""


def last_source(farm: Builds, name: str, image: str, classes: Mapping[str, int]) -> BuildRequest:
    """The request that builds tenant/app again as the build of ``image`` did.

    Args:
        farm: its builds and sources.
        name: tenant/app.
        image: digest of an image that a build of the app made.
        classes: the farm's classes of builds with their weights; the one of least weight is chosen.

    Raises:
        NoSourceError: the source cannot be built again as it was.
        StoreError, RegistryError: Redis or the registry cannot be reached.
    """
    build = _build_of(farm, name, image)
    if build is None:
        raise NoSourceError("the farm no longer has the build of its image, so its source is not known: build it again")
    found = request_of(build, min(classes, key=lambda one: classes[one]))
    if isinstance(found.source, ArtifactSource) and not farm.has_source(found.source):
        raise NoSourceError("its last source is no longer stored: build it again")
    return found


def request_of(build: Build, build_class: str) -> BuildRequest:
    """A new request for a build's source, with the buildpacks and size that it asked for. Raises NoSourceError."""
    request = build.request
    if not isinstance(request, BuildRequest):
        raise NoSourceError("its image was not built from a source of the app")
    if request.env:
        names = ", ".join(sorted(request.env)[:5])
        raise NoSourceError(f"its last build had config vars ({names}), whose values are not kept: build it again")
    if isinstance(request.source, GitSource) and not _COMMIT.fullmatch(request.source.ref):
        ref = request.source.ref[:80]
        raise NoSourceError(f"its last build was of {ref} of a git repository, which can be another commit now")
    return request.model_copy(
        update={
            "build_class": build_class, "run_policy": RunPolicy.LATEST_QUEUED, "cached_result": False,
            "expires_in_seconds": None, "idempotency_key": None,
        }
    )  # fmt: skip


def _build_of(farm: Builds, name: str, image: str) -> Build | None:
    tenant, _, app = name.partition("/")
    after: str | None = ""
    for _ in range(_PAGES_MAX):
        if after is None:
            break
        builds, after = farm.page(_PAGE, tenant=tenant, app=app, states=(State.SUCCEEDED,), after=after)
        for build in builds:
            if build.result is not None and str(build.result.digest) == image:
                return build
    return None

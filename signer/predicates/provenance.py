"""The provenance of an image that a build or a move made: all of it out of the record. Equal records, equal bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from buildfarm.model import BuildRequest, ImageRequest
from buildfarm.oci.signatures.provenance import Builder, BuildType
from buildfarm.releases.models import Rebase
from signer.predicates import dependencies
from signer.predicates.bounds import bounded
from signer.predicates.recorded import Recorded

Predicate = dict[str, Any]


@dataclass(frozen=True)
class Provenance:
    """Makes predicates for images of the registry at ``host``; all of them are empty if it ``is_off``."""

    host: str
    is_laptop: bool = False
    is_off: bool = False

    def of_build(self, recorded: Recorded) -> Predicate:
        """Of the image that a build made."""
        if self.is_off:
            return {}
        build, request = recorded.build, recorded.build.request
        kind = BuildType.BUILD if isinstance(request, BuildRequest) else BuildType.IMAGE
        clean = request.clean if isinstance(request, BuildRequest) else True  # image builds have no cache
        inside = {"cache": "none" if clean else "allowed"}
        external = _of_app(recorded, request) if isinstance(request, BuildRequest) else _of_image(request)
        found = [dependencies.source(request.source, self.host, recorded.commit)]
        if isinstance(request, BuildRequest):
            found += dependencies.buildpacks(request.buildpacks, recorded.used, self.host, request.env)
            found.append(dependencies.image("base", self.host, recorded.base))
        else:
            found[0]["name"] = "recipe"
        run = f"{build.id}/{build.attempt}"
        times = (build.started_at, recorded.finished_at)
        definition = _definition(kind, external, found) | {"internalParameters": inside}
        return self._predicate(definition, Builder.CLEAN if clean else Builder.CACHED, run, times)

    def of_move(self, target: str, move: Rebase, origin: str, channel: str, release: str) -> Predicate:
        """Of the image that a move to another base made of a release; ``origin`` is the image that had it before."""
        if self.is_off:
            return {}
        repository = f"{self.host}/{target}"
        found = [
            {"name": "image", "uri": f"oci://{repository}@{origin}", **_digest(origin)},
            {"name": "release", "uri": f"oci://{repository}@{release}", **_digest(release)},
            dependencies.image("base", self.host, move.base),
        ]
        external = {"app": target.removeprefix("apps/"), "base": move.base, "channel": channel}
        return self._predicate(_definition(BuildType.COMPOSE, external, found), Builder.COMPOSE, "", (move.at, move.at))

    def _predicate(
        self, definition: Predicate, builder: Builder, run: str, times: tuple[float | None, float | None]
    ) -> Predicate:
        started, finished = map(_time, times)
        metadata = {"invocationId": run, "startedOn": started, "finishedOn": finished}
        details = {
            "builder": {"id": str(Builder.LAPTOP if self.is_laptop else builder)},
            "metadata": {name: value for name, value in metadata.items() if value},
        }
        return bounded({"buildDefinition": definition, "runDetails": details})


def _definition(kind: BuildType, external: Predicate, found: list[dependencies.Descriptor]) -> Predicate:
    return {"buildType": str(kind), "externalParameters": external, "resolvedDependencies": found}


def _of_app(recorded: Recorded, request: BuildRequest) -> dict[str, Any]:
    """Everything that the tenant chose, but for the idempotency key and the time to wait: they make no image."""
    return {
        "app": f"{request.tenant}/{request.app}",
        "source": dependencies.source_parameter(request.source),
        "buildpacks": [dependencies.plain(text) for text in request.buildpacks],
        "buildpackOrder": [dependencies.plain(text) for text in request.buildpack_order],
        "config": dict(recorded.config),
        "secrets": sorted(request.secrets),
        "size": request.size or "standard",
        "class": recorded.build.build_class,
        "runPolicy": str(request.run_policy),
        "cachedResult": request.cached_result,
        "clean": request.clean,
        "channel": recorded.build.channel,
        "buildVariables": recorded.has_variables,
        "credentials": recorded.has_credentials,
    }


def _of_image(request: ImageRequest) -> dict[str, Any]:
    return {
        "image": request.image,
        "version": request.version,
        "source": dependencies.source_parameter(request.source),
        "mirror": dependencies.plain(request.mirror or ""),
        "sha256": request.sha256 or "",
    }


def _digest(digest: str) -> dict[str, object]:
    return {"digest": {"sha256": digest.removeprefix("sha256:")}}


def _time(seconds: float | None) -> str:
    """RFC 3339; empty if it is not a time."""
    try:
        return datetime.fromtimestamp(seconds or 0, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else ""
    except (ValueError, OverflowError, OSError):
        return ""

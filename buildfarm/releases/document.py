"""A release as the registry keeps it: an artifact whose config is a JSON document. Pure.

Its layers are the app's own, each with its media type, and then its facts. So the registry keeps all that the release
is made of, as it does for an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from buildfarm.oci.digest import Digest
from buildfarm.oci.env import PATH, EnvChange
from buildfarm.oci.manifest import Descriptor, Kind, Manifest, canonical_json, media_types, parse_json
from buildfarm.releases.release import OwnLayer, Release, Runtime

RELEASE_TYPE = "application/vnd.buildfarm.release.v1+json"  # of the artifact and of its document
RELEASE_ANNOTATION = "io.buildfarm.release"  # in an image's manifest: the digest of its release's manifest
FACTS_TYPE_PREFIX = "application/vnd.buildfarm.facts."


@dataclass(frozen=True)
class Encoded:
    """The two small blobs of a release, and the digest by which images name it."""

    document: bytes
    manifest: bytes
    media_type: str
    digest: Digest


def encode(release: Release) -> Encoded:
    """Equal releases have equal bytes."""
    document = canonical_json(_document(release))
    config = Descriptor(RELEASE_TYPE, Digest.of(document), len(document))
    layers = (*(layer.blob for layer in release.layers), *release.facts)
    media_type = media_types("oci").manifest
    # Registries refuse a manifest without layers.
    manifest = Manifest(media_type, config, layers or (config,), artifact_type=RELEASE_TYPE).encode()
    return Encoded(document, manifest, media_type, Digest.of(manifest))


def decode(manifest: Manifest, document: bytes) -> Release:
    """Raises ValueError if it is not a release, or one that only a newer version of the farm can read."""
    if manifest.config.media_type != RELEASE_TYPE:
        raise ValueError(
            f"{manifest.config.media_type[:120]!r} is not a release that this version of the farm can read"
        )
    try:
        return _release(manifest, cast("dict[str, Any]", parse_json(document, "a release")))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the release is damaged: {error!r}") from error


def _document(release: Release) -> dict[str, object]:
    runtime = release.runtime
    return {
        "channel": release.channel,
        "registry": release.registry,
        "media_types": release.media_types,
        "stack": dict(release.stack),
        "layers": [{"diff_id": layer.diff_id, "origin": layer.origin} for layer in release.layers],
        "config": {
            "entrypoint": _listed(runtime.entrypoint),
            "cmd": _listed(runtime.cmd),
            "user": runtime.user,
            "working_dir": runtime.working_dir,
            "exposed_ports": list(runtime.exposed_ports),
            "env": {
                "set": [list(pair) for pair in runtime.env.set],
                "unset": list(runtime.env.unset),
                "prepend": {PATH: runtime.env.path} if runtime.env.path else {},
            },
            "labels": dict(runtime.labels),
        },
    }


def _release(manifest: Manifest, told: Mapping[str, Any]) -> Release:
    layers = told["layers"]
    blobs = manifest.layers[: len(layers)]
    return Release(
        layers=tuple(
            OwnLayer(blob, Digest(layer["diff_id"]), str(layer["origin"]))
            for blob, layer in zip(blobs, layers, strict=True)
        ),
        runtime=_runtime(told["config"]),
        stack={str(name): str(value) for name, value in told["stack"].items()},
        media_types=_kind(told["media_types"]),
        registry=str(told["registry"]),
        channel=str(told["channel"]),
        facts=tuple(blob for blob in manifest.layers[len(layers) :] if blob.media_type.startswith(FACTS_TYPE_PREFIX)),
    )


def _runtime(told: Mapping[str, Any]) -> Runtime:
    env = told["env"]
    return Runtime(
        entrypoint=_tuple(told["entrypoint"]),
        cmd=_tuple(told["cmd"]),
        user=told["user"],
        working_dir=told["working_dir"],
        exposed_ports=tuple(told["exposed_ports"]),
        env=EnvChange(
            tuple((str(name), str(value)) for name, value in env["set"]),
            tuple(env["unset"]),
            str(env["prepend"].get(PATH, "")),
        ),
        labels={str(name): str(value) for name, value in told["labels"].items()},
    )


def _kind(name: str) -> Kind:
    if name not in ("docker", "oci"):
        raise ValueError(f"{name!r} is not a kind of image")
    return cast("Kind", name)


def _listed(words: Sequence[str] | None) -> list[str] | None:
    return None if words is None else list(words)


def _tuple(words: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(str(word) for word in words)

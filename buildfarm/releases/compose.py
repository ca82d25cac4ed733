"""A release on a base is an image; a build's image without its base is a release. Pure: equal input, equal bytes."""

from __future__ import annotations

from collections.abc import Sequence

from buildfarm.oci import image as images
from buildfarm.oci.env import applied, difference
from buildfarm.oci.image import AddedLayer, ComposedImage, RuntimeConfig
from buildfarm.oci.manifest import Compression, Descriptor, Kind, LayerDigests, media_types
from buildfarm.releases.base import STABLE, Base
from buildfarm.releases.document import RELEASE_ANNOTATION, encode
from buildfarm.releases.labels import base_names, labels_on, own_labels
from buildfarm.releases.release import OwnLayer, Release, Runtime


def release_of(
    base: Base,
    layers: Sequence[AddedLayer],
    *,
    changes: RuntimeConfig,
    kind: Kind,
    compression: Compression,
    registry: str,
    channel: str = STABLE,
) -> Release:
    """What a build on ``base`` made, with ``layers`` in ``compression``; ``registry`` is the host of its images."""
    image = images.environment(base.variables, changes.env)
    media_type = media_types(kind).layers[compression]
    return Release(
        layers=tuple(
            OwnLayer(
                Descriptor(media_type, layer.digests.digest, layer.digests.size_bytes),
                layer.digests.diff_id,
                layer.origin,
            )
            for layer in layers
        ),
        runtime=Runtime(
            entrypoint=changes.entrypoint,
            cmd=changes.cmd,
            user=changes.user,
            working_dir=changes.working_dir,
            exposed_ports=changes.exposed_ports,
            env=difference(base.variables, image),
            labels=own_labels(changes.labels),
        ),
        stack=base.stack,
        media_types=kind,
        registry=registry,
        channel=channel,
    )


def compose(release: Release, base: Base, channel: str = "") -> ComposedImage:
    """The image. Raises ValueError if the base is none, or its config and manifest differ in the number of layers.

    ``channel`` is the one that the app follows, if that has changed since the release was made.
    """
    runtime = release.runtime
    name = base_name(release, base, channel)
    changes = RuntimeConfig(
        entrypoint=runtime.entrypoint,
        cmd=runtime.cmd,
        user=runtime.user,
        working_dir=runtime.working_dir,
        exposed_ports=runtime.exposed_ports,
        variables=tuple(applied(runtime.env, base.variables)),
        labels=labels_on(runtime.labels, base, name, release.registry),
    )
    return images.compose(
        base.manifest,
        base.content,
        [_added(layer) for layer in release.layers],
        changes=changes,
        kind=release.media_types,
        annotations={**base_names(base, name), RELEASE_ANNOTATION: encode(release).digest},
    )


def base_name(release: Release, base: Base, channel: str = "") -> str:
    """The reference under which newer versions of the base will be found: it names the channel, and so it moves."""
    return f"{release.registry}/{base.repository}:{channel or release.channel}"


def _added(layer: OwnLayer) -> AddedLayer:
    return AddedLayer(
        LayerDigests(layer.blob.digest, layer.diff_id, layer.blob.size, 0), layer.origin, layer.blob.media_type
    )

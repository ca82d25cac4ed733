"""The phases export and publish: an app's files become layers over the builder's, and the tag moves last."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping, Set
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Thread
from types import MappingProxyType
from typing import Protocol

from buildfarm.errors import StoreError
from buildfarm.model import BuildRequest, Layer
from buildfarm.oci.connection import MissingBlobError, NotInRegistryError, OtherContentError
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import AddedLayer, ComposedImage, RuntimeConfig
from buildfarm.oci.layer import LayerStream, hash_raw
from buildfarm.oci.manifest import Compression, Kind, LayerDigests
from buildfarm.oci.registry import Registry
from buildfarm.oci.tree import Entry, header_entries
from buildfarm.oci.unpack import unpacked
from buildfarm.releases.base import STABLE
from buildfarm.releases.compose import release_of
from buildfarm.releases.shelf import mount_base, put_image, release_digest
from buildfarm.store import KnownLayer
from workers.attempt.signals import Check, go_on
from workers.build_folder import BuildFolder
from workers.builder import Builder
from workers.export.app_files import APP_USER, AppFiles, MadeFrom, refuse_too_large
from workers.export.fingerprint import Recent
from workers.export.launch_layers import LaunchLayers, plan_launch_layers, process_links
from workers.export.path_rules import refuse_unfit
from workers.export.planner import Planner
from workers.export.secret_scan import MakeWatch, Pieces, Scanned, SecretScan

PROCESSES = "etc/buildfarm/processes"  # a file for each process type; /start reads them

_LAYERS_AT_ONCE = 2  # each holds a set of buffers
_EXPORTS_MAX = 3
_PORT = "8080/tcp"


def unannounced(repository: str) -> None:
    """The `announce` of farms that do not sign."""


class Known(Protocol):
    """Layers that any node has sent, by their shape. Both raise StoreError."""

    def get(self, shape: str) -> KnownLayer | None: ...

    def put(self, shape: str, layer: KnownLayer) -> None: ...


@dataclass(frozen=True)
class SentLayers:
    """Layers of an app that are in the registry, each group from the bottom up: ``launch`` is below ``app``."""

    launch: tuple[Layer, ...]
    app: tuple[Layer, ...]

    @property
    def all(self) -> tuple[Layer, ...]:
        """From the bottom up."""
        return (*self.launch, *self.app)


@dataclass(frozen=True)
class Exported:
    """An image whose blobs and manifest are in the registry, under its digest alone."""

    image: ComposedImage
    layers: tuple[Layer, ...]
    uploaded_bytes: int


@dataclass(frozen=True)
class Exporter:
    """Writes apps' images to the registry. Every method raises RegistryError where it fails."""

    registry: Registry
    compression: Compression
    threads: int
    media_types: Kind
    image_bytes: int
    layer_min_bytes: int
    layers_max: int
    known: Known
    remembered: Recent[KnownLayer] = field(default_factory=Recent)
    scanned: Scanned | None = None
    sizes: Recent[int] = field(default_factory=Recent)  # of folders that need not be listed again
    check: Check = go_on
    channel: str = STABLE  # that the app follows
    announce: Callable[[str], object] = unannounced  # an export into this repository begins; what it raises is dropped
    sent: dict[str, tuple[str, bytes]] = field(
        default_factory=dict, repr=False
    )  # this attempt's manifest and config, by digest

    def during(self, check: Check, channel: str = "") -> Exporter:
        """The same exporter for one attempt: what ``check`` raises ends an export within a second."""
        return replace(self, registry=self.registry.during(check), check=check, channel=channel or STABLE, sent={})

    def export(
        self,
        app: BuildFolder,
        builder: Builder,
        request: BuildRequest,
        *,
        source_names: Set[str],
        process_types: Mapping[str, str],
        variables: Mapping[str, str],
        labels: Callable[[SentLayers], Mapping[str, str]],
        left_out: Set[str] = frozenset(),
        launch: LaunchLayers | None = None,
        secrets: Mapping[str, str] = MappingProxyType({}),
        unchanged: Mapping[str, str] = MappingProxyType({}),
    ) -> Exported:
        """Sends layers, config and manifest: see `send_layers` and `write_image`.

        What the app's tagged image names is in the repository: the next one is mostly made of it, and a collection
        takes nothing of it away. If the tag moves meanwhile and the registry then lacks something, it is asked for
        everything and gets what it lacks.
        """
        repository = request.repository

        def send(there: Container[str]) -> Exported:
            layers = self.send_layers(
                app, builder, repository, source_names=source_names, process_types=process_types, left_out=left_out,
                launch=launch, secrets=secrets, unchanged=unchanged, there=there,
            )  # fmt: skip
            return self.write_image(
                layers, builder, repository, process_types=process_types, variables=variables, labels=labels(layers),
                there=there,
            )  # fmt: skip

        # A daemon: neither an export nor the end of the node waits for it, whatever state Redis is in.
        Thread(target=self._announced, args=(repository,), name="announce", daemon=True).start()
        with ThreadPoolExecutor(1, "tag") as side:
            there: Container[str] = _Named(side.submit(self._named_by, repository, request.tag))
            for _ in range(_EXPORTS_MAX - 1):
                with suppress(MissingBlobError):
                    return send(there)
                there = frozenset()
            return send(there)

    def send_layers(
        self,
        app: BuildFolder,
        builder: Builder,
        repository: str,
        *,
        source_names: Set[str],
        process_types: Mapping[str, str],
        left_out: Set[str] = frozenset(),
        launch: LaunchLayers | None = None,
        secrets: Mapping[str, str] = MappingProxyType({}),
        unchanged: Mapping[str, str] = MappingProxyType({}),
        there: Container[str] = frozenset(),
    ) -> SentLayers:
        """Sends the layers of the files in ``app``, which must not change meanwhile; the builder's are mounted.

        The registry is not asked for those ``there``.
        ``source_names`` are what came in with the source, as `oci.tree.tree_names` gives them, and ``left_out`` such
        names that do not come into the image; ``secrets`` are values that no file of it may contain, by the names of
        their config vars; ``unchanged`` are those of `AppFiles`. Raises TooLargeError if the files are over the limit,
        CompileError if an image cannot hold one or one has a secret in it, and NodeError if they cannot be read.
        """
        scan = SecretScan(secrets, repository, self.scanned)
        with ThreadPoolExecutor(1, "mount") as side:
            mounted = side.submit(mount_base, self.registry, repository, builder.base, there)
            below = self._launch_layers(launch, repository, scan, there) if launch else ()
            prefix = _own_entries(process_types, launch)
            own = self._app_layers(AppFiles(app, source_names, left_out, prefix, repository, scan, unchanged), there)
            mounted.result()
        return SentLayers(below, own)

    def write_image(
        self,
        layers: SentLayers,
        builder: Builder,
        repository: str,
        *,
        process_types: Mapping[str, str],
        variables: Mapping[str, str],
        labels: Mapping[str, str],
        there: Container[str] = frozenset(),
    ) -> Exported:
        """Sends the app's release and its image on ``builder``; their layers are in the repository."""
        changes = RuntimeConfig(
            entrypoint=("/start",),
            cmd=("web",),
            user=f"{APP_USER}:{APP_USER}",
            working_dir="/app",
            env=variables,
            labels={**labels, "io.buildfarm.process-types": json.dumps(dict(sorted(process_types.items())))},
            exposed_ports=(_PORT,) if "web" in process_types else (),
        )
        release = release_of(
            builder.base,
            [AddedLayer(_digests(layer), layer.origin) for layer in layers.all],
            changes=changes,
            kind=self.media_types,
            compression=self.compression,
            registry=self.registry.host,
            channel=self.channel,
        )
        # An image with a new layer has a new config and a new release.
        look = all(layer.reused for layer in layers.all)
        image = put_image(self.registry, repository, release, builder.base, look=look, there=there)
        self.sent[image.digest] = image.media_type, image.manifest
        self.sent[Digest.of(image.config)] = "", image.config
        uploaded_bytes = sum(layer.size_bytes for layer in layers.all if not layer.reused)
        return Exported(image, (*builder.layers(), *layers.all), uploaded_bytes)

    def _announced(self, repository: str) -> None:
        with suppress(Exception):
            self.announce(repository)

    def _named_by(self, repository: str, tag: str) -> frozenset[str]:
        """Digests of what the tagged image names, its release too; none if there is no image, or it is none of ours."""
        try:
            manifest, _ = self.registry.read_manifest(repository, tag)
        except (NotInRegistryError, OtherContentError, ValueError):
            return frozenset()
        return frozenset([release_digest(manifest), *(blob.digest for blob in (manifest.config, *manifest.layers))])

    def _app_layers(self, app: AppFiles, there: Container[str]) -> tuple[Layer, ...]:
        """From the bottom up; each is in the registry."""
        planner = Planner(self.compression, self.layer_min_bytes, self.layers_max, self.image_bytes, self.sizes)
        with ThreadPoolExecutor(_LAYERS_AT_ONCE, "layer") as side:
            # The small ones on top first: the big ones below have begun.
            made = [side.submit(self._layer, app, layer, there) for layer in reversed(planner.plan(app))]
            try:
                for layer in as_completed(made):
                    layer.result()
            except BaseException:
                side.shutdown(wait=False, cancel_futures=True)  # what still waits need not begin
                raise
            return tuple(layer.result() for layer in reversed(made))

    def _launch_layers(
        self, launch: LaunchLayers, repository: str, scan: SecretScan, there: Container[str]
    ) -> tuple[Layer, ...]:
        """From the bottom up; those of the previous image are there already."""
        app = AppFiles(launch.root, frozenset(), frozenset(), b"", repository, scan)
        listing = launch.root.scan()
        refuse_unfit(listing.found)
        planned = plan_launch_layers(launch, listing.found)
        refuse_too_large([item.found for item in planned if not isinstance(item, Layer)], self.image_bytes)
        return tuple(
            self._searched(app, item)
            if isinstance(item, Layer)
            else self._layer(app, MadeFrom.of(app, item, self.compression), there)
            for item in planned
        )

    def _searched(self, app: AppFiles, layer: Layer) -> Layer:
        """The same layer, of an earlier image, once it is known to have no secret in it; its files are not here."""
        left = app.secrets.left(layer.diff_id)

        def pieces() -> Pieces:
            return unpacked(self.registry.get_blob(app.repository, layer.digest, limit_bytes=layer.size_bytes))

        if left.needles:
            left.guard(partial(_show, pieces), pieces)
            left.passed(layer.diff_id)
        return layer

    def _layer(self, app: AppFiles, source: MadeFrom, there: Container[str]) -> Layer:
        """Reused where the registry has it, and made and sent if it has not."""
        remembered = self.remembered.get(source.identity)
        layer = remembered or self._guess(source.shape)
        if layer is not None:
            left = app.secrets.left(layer.digests.diff_id)
            # Reading costs a third of making; a layer of the same shape says that it is worth it.
            if (remembered is None or left.needles) and self._read(source, left) != layer.digests.diff_id:
                layer = None
            else:
                left.passed(layer.digests.diff_id)
        reused = layer is not None and (layer.digests.digest in there or self._is_there(layer, app.repository))
        if layer is None or not reused:
            layer = KnownLayer(self._send(app, source), app.repository)
            app.secrets.passed(layer.digests.diff_id)
            with suppress(StoreError):  # only speed is lost
                self.known.put(source.shape, layer)
        self.remembered.put(source.identity, layer)
        return Layer(
            digest=layer.digests.digest,
            diff_id=layer.digests.diff_id,
            size_bytes=layer.digests.size_bytes,
            uncompressed_bytes=layer.digests.uncompressed_bytes,
            origin=source.origin,
            reused=reused,
        )

    def _guess(self, shape: str) -> KnownLayer | None:
        try:
            return self.known.get(shape)
        except StoreError:
            return None

    def _is_there(self, layer: KnownLayer, repository: str) -> bool:
        """Whether this repository has the layer, or could take it over; what is known may be out of date."""
        digest = layer.digests.digest
        if self.registry.has_blob(repository, digest):
            return True
        return layer.repository != repository and self.registry.mount(repository, digest, layer.repository)

    def _read(self, source: MadeFrom, secrets: SecretScan) -> Digest:
        """The layer's diff ID. Raises CompileError if one of these secrets is in it."""
        archive, prefix = source.archive, source.prefix
        return secrets.guard(
            lambda watch: hash_raw(archive.argv, prefix=prefix, names=archive.names, check=self.check, watch=watch()),
            partial(source.pieces, self.check),
        )

    def _send(self, app: AppFiles, source: MadeFrom) -> LayerDigests:
        """What contains a secret is not sent to its end, so the registry never has the blob."""

        def stream(watch: MakeWatch) -> LayerStream:
            return LayerStream(
                source.archive.argv,
                prefix=source.prefix,
                names=source.archive.names,
                compression=self.compression,
                limit_bytes=self.image_bytes,
                threads=self.threads,
                watch=watch(),
            )

        return app.secrets.guard(
            lambda watch: self.registry.upload(app.repository, partial(stream, watch)),
            partial(source.pieces, self.check),
        )


class _Named:
    """Digests that are still being asked for."""

    def __init__(self, asked: Future[frozenset[str]]) -> None:
        self._asked = asked

    def __contains__(self, digest: object) -> bool:
        return digest in self._asked.result()


def _own_entries(process_types: Mapping[str, str], launch: LaunchLayers | None) -> bytes:
    """Each process type's command, and links to its launcher where it has one."""
    commands = [Entry(f"{PROCESSES}/{name}", f"{line}\n".encode()) for name, line in sorted(process_types.items())]
    return header_entries([*commands, *(process_links(launch) if launch else ())])


def _show(pieces: Callable[[], Pieces], make_watch: MakeWatch) -> None:
    if (watch := make_watch()) is not None:
        with closing(pieces()) as all_pieces:
            for piece in all_pieces:
                watch(piece)


def _digests(layer: Layer) -> LayerDigests:
    return LayerDigests(layer.digest, layer.diff_id, layer.size_bytes, layer.uncompressed_bytes or 0)

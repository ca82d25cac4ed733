"""The phases export and publish: an app's files become a layer over the builder's, and the tag moves last."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from buildfarm.model import BuildRequest, Layer
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import AddedLayer, ComposedImage, RuntimeConfig, compose
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import Compression, Kind, LayerDigests
from buildfarm.oci.registry import Registry
from buildfarm.oci.tree import Entry, header_entries, tar_command, tree_names
from workers.builder import Builder

TAG = "latest"
PROCESSES = "etc/buildfarm/processes"  # a file for each process type; /start reads them

_USER = 1000
_PORT = "8080/tcp"


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

    def export(
        self,
        app: Path,
        builder: Builder,
        request: BuildRequest,
        *,
        process_types: Mapping[str, str],
        variables: Mapping[str, str],
        labels: Mapping[str, str],
    ) -> Exported:
        """The image of the files in ``app``. Nothing may change them meanwhile.

        Raises TooLargeError where they are over the limit, and NodeError where they cannot be read.
        """
        with ThreadPoolExecutor(1, "mount") as side:
            mounted = side.submit(self._mount, builder, request.repository)
            digests, uploaded_bytes = self._app_layer(app, process_types, request.repository)
            mounted.result()
        changes = RuntimeConfig(
            entrypoint=("/start",),
            cmd=("web",),
            user=f"{_USER}:{_USER}",
            working_dir="/app",
            env=variables,
            labels={**labels, "io.buildfarm.process-types": json.dumps(dict(sorted(process_types.items())))},
            exposed_ports=(_PORT,) if "web" in process_types else (),
        )
        image = compose(
            builder.manifest,
            builder.config,
            [AddedLayer(digests, "app")],
            changes=changes,
            kind=self.media_types,
            compression=self.compression,
        )
        self.registry.put_blob(request.repository, image.config)
        self.registry.put_manifest(request.repository, image.manifest, image.media_type, tag=None)
        layer = Layer(
            digest=digests.digest,
            diff_id=digests.diff_id,
            size_bytes=digests.size_bytes,
            uncompressed_bytes=digests.uncompressed_bytes,
            origin="app",
            reused=uploaded_bytes == 0,
        )
        return Exported(image, (*builder.layers(), layer), uploaded_bytes)

    def move_tag(self, repository: str, wanted: Callable[[], str]) -> None:
        """Points the tag at the image that ``wanted`` says, until what it says is what was done.

        Of two builds of an app that publish at once, each sets the tag to the record's answer, so that the record
        decides, whoever of the two is slower.
        """
        done = ""
        while (digest := wanted()) != done:
            media_type, manifest, _ = self.registry.get_manifest(repository, digest)
            self.registry.put_manifest(repository, manifest, media_type, tag=TAG)
            done = digest

    def _mount(self, builder: Builder, repository: str) -> None:
        for layer in builder.manifest.layers:
            if not self.registry.mount(repository, layer.digest, builder.repository):
                self._copy(builder.repository, repository, layer.digest, layer.size)

    def _copy(self, source: str, repository: str, digest: Digest, size: int) -> None:
        """For registries that do not mount: the bytes travel once, when the app is new."""
        if not self.registry.has_blob(repository, digest):
            self.registry.put_blob(repository, self.registry.read_blob(source, digest, limit_bytes=size))

    def _app_layer(self, app: Path, process_types: Mapping[str, str], repository: str) -> tuple[LayerDigests, int]:
        """The layer's digests, and how many bytes were sent for it."""
        prefix = header_entries(
            Entry(f"{PROCESSES}/{name}", f"{command}\n".encode()) for name, command in sorted(process_types.items())
        )

        def stream() -> LayerStream:
            return LayerStream(
                tar_command(app, owner=_USER, names=True),
                prefix=prefix,
                names=tree_names(app),
                compression=self.compression,
                limit_bytes=self.image_bytes,
                threads=self.threads,
            )

        # An app that was built before may well be the same again: then its digest is worth making without sending.
        if self.registry.has_manifest(repository, TAG):
            with stream() as made:
                for _ in made:
                    pass
            if self.registry.has_blob(repository, made.layer.digest):
                return made.layer, 0
        sent = self.registry.upload(repository, stream)
        return sent, sent.size_bytes

"""Slim images without a farm: the farm's own Redis and registry have to be there before there is one.

The same steps as an image build on a node takes, less the smoke test: whether they answer is seen when they start.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import NotFound

from buildfarm.errors import BuildfarmError, SetupError
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.tree import tar_command
from buildfarm.recipes.folder import slim_plan
from buildfarm.settings import Settings
from workers.attempt.signals import go_on
from workers.image_builds.assembly import assemble, unpack_recipe
from workers.image_builds.slim import check_budget, make_image, write_archive
from workers.sandbox.container import Sandboxes
from workers.sandbox.spec import SandboxSpec
from workers.sandbox.workspace import Workspaces, remove

_OWNER = 1000  # of the packed recipe; the user that unpacks it owns it
_SILENCE_SECONDS = 300
_NODE = "local"
_TAIL_CHARS = 1500


@dataclass(frozen=True)
class Maker:
    """Makes slim images on this machine's engine. ``folder`` is where it works; ``imager`` is the engine's name."""

    client: docker.DockerClient
    settings: Settings
    network: str
    folder: Path
    imager: str

    def make(self, recipe: Path, version: str, name: str) -> None:
        """The image of one version of the recipe, on the engine under ``name``. Raises SetupError."""
        try:
            self._make(recipe, version, name)
        except BuildfarmError as error:
            raise SetupError(f"The image {name} cannot be made: {error.message}", advice=error.advice) from error

    def _make(self, recipe: Path, version: str, name: str) -> None:
        plan = slim_plan(recipe, version)
        attempt = f"buildfarm-up-{plan.name}"
        self._clear(attempt)
        workspaces = Workspaces(self.folder, self.settings.workspace_bytes, self.settings.workspace_inodes)
        sandboxes = Sandboxes(self.client, self._spec(), _SILENCE_SECONDS)
        log = _Log()
        with (
            workspaces.make(attempt) as workspace,
            sandboxes.make(self.imager, attempt, workspace, {"HOME": "/tmp"}) as silent,
        ):
            sandbox = silent.bound(log.take, go_on)
            packed = LayerStream(tar_command(recipe.resolve(), owner=_OWNER, names=False), compression="none")
            with packed:
                unpack_recipe(packed, sandbox)
            try:
                made = assemble(plan, sandbox, workspace)
            except BuildfarmError as error:
                raise SetupError(f"{error.message}\n{log.text[-_TAIL_CHARS:]}", advice=error.advice) from error
            image = make_image(
                made.tree,
                plan,
                made.packages,
                workspace.own / "layer.tar.gz",
                kind=self.settings.media_types,
                threads=self.settings.compression_threads,
            )
            check_budget(plan.budget_of(compiled=made.compiled), image, name)
            archive = workspace.own / "image.tar"
            write_archive(image, name, archive)
            with archive.open("rb") as content:
                self.client.images.load(content)

    def _spec(self) -> SandboxSpec:
        settings = self.settings
        return SandboxSpec(
            node_id=_NODE,
            network=self.network,
            memory_bytes=settings.memory_bytes,
            cpus=min(settings.cpus, os.cpu_count() or 1),
            pids_max=settings.pids_max,
            files_max=settings.files_max,
            ca_bundle=settings.ca_bundle,
        )

    def _clear(self, attempt: str) -> None:
        """What a killed run left."""
        with suppress(NotFound):
            self.client.containers.get(attempt).remove(force=True)
        remove(self.folder / attempt)


class _Log:
    def __init__(self) -> None:
        self.text = ""

    def take(self, piece: bytes) -> None:
        self.text += piece.decode(errors="replace")

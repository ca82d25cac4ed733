"""Ways to bring a built app into a registry, on top of the same builder: ours, and what people use instead."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.trees import Tree
from buildfarm.farm import Farm
from buildfarm.model import BuildRequest
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import KnownLayers, ScannedLayers
from workers.build_folder import BuildFolder
from workers.builder import Builder
from workers.export.exporter import Exporter
from workers.export.fingerprint import Recent

Change = Callable[[], None]


@dataclass
class Ours:
    """The farm's exporter, in a farm and on a node that know no layer at first."""

    farm: Farm
    builder: Builder
    tree: Tree
    root: Path
    layers_max: int = 8
    secrets: Mapping[str, str] = field(default_factory=dict)
    exporter: Exporter = field(init=False)
    request: BuildRequest = field(init=False)
    made: list[Digest] = field(default_factory=list)

    def __post_init__(self) -> None:
        artifact = ArtifactSource(repository="sources/bench", digest="sha256:" + "0" * 64)
        self.request = BuildRequest(tenant="bench", app=f"a{uuid.uuid4().hex[:12]}", source=artifact)
        self.forget()

    def forget(self) -> None:
        """From now on as on another node."""
        settings = self.farm.settings
        database = replace(self.farm.database, namespace=f"bench-{self.request.app}:")
        self.exporter = Exporter(
            registry=self.farm.registry,
            compression=settings.compression,
            threads=settings.compression_threads,
            media_types=settings.media_types,
            image_bytes=8 * settings.image_bytes,
            layer_min_bytes=settings.layer_min_bytes,
            layers_max=self.layers_max,
            known=KnownLayers(database),
            scanned=ScannedLayers(database, self.farm.records.seal),
            remembered=Recent(),
        )

    def export(self) -> int:
        """Returns the layer bytes sent."""
        repository, types = self.request.repository, {"web": "true"}
        layers = self.exporter.send_layers(
            BuildFolder(self.root),
            self.builder,
            repository,
            source_names=self.tree.source_names,
            process_types=types,
            secrets=self.secrets,
        )
        exported = self.exporter.write_image(
            layers, self.builder, repository, process_types=types, variables={}, labels={}
        )
        self.made.append(exported.image.digest)
        return exported.uploaded_bytes

    @property
    def image(self) -> str:
        return f"{self.farm.registry.host}/{self.request.repository}@{self.made[-1]}"

    def clean(self) -> None:
        for digest in set(self.made):
            self.farm.registry.delete_manifest(self.request.repository, digest)


@dataclass
class CommitAndPush:
    """``docker commit`` of a container that holds the app, and ``docker push``."""

    registry: Registry
    image: str
    root: Path
    undo: ExitStack
    name: str = field(default_factory=lambda: f"bench-{uuid.uuid4().hex[:12]}")

    @property
    def repository(self) -> str:
        return f"bench/{self.name}"

    def prepare(self) -> None:
        """A stopped container of the builder with the app in it, as after a build."""
        run("docker", "create", "--name", self.name, self.image)
        self.undo.callback(run, "docker", "rm", "--force", self.name)
        run("docker", "cp", f"{self.root}/.", f"{self.name}:/app")

    def change(self, code: str) -> None:
        run("docker", "cp", str(self.root / code), f"{self.name}:/app/{code}")

    def export(self) -> int:
        target = f"{self.registry.host}/{self.repository}:latest"
        run("docker", "commit", self.name, target)
        run("docker", "push", "--quiet", target)
        return 0

    def clean(self) -> None:
        remove_images(self.registry, self.repository)


@dataclass
class Dockerfile:
    """A Dockerfile that copies what the buildpacks made, then the source; every step that can be is cached."""

    registry: Registry
    image: str
    tree: Tree
    root: Path
    name: str = field(default_factory=lambda: f"bench-{uuid.uuid4().hex[:12]}")

    @property
    def repository(self) -> str:
        return f"bench/{self.name}"

    def export(self) -> int:
        made = sorted(path.name for path in self.root.iterdir() if f"app/{path.name}" not in self.tree.source_names)
        source = sorted(name.removeprefix("app/") for name in self.tree.source_names)
        steps = [f"FROM {self.image}"]
        steps += [f'COPY ["{name}", "/app/{name}{"/" if (self.root / name).is_dir() else ""}"]' for name in made]
        steps += ["COPY [{}]".format(", ".join(f'"{name}"' for name in [*source, "/app/"]))]
        target = f"{self.registry.host}/{self.repository}:latest"
        dockerfile = self.root.parent / f"{self.name}.Dockerfile"
        dockerfile.write_text("\n".join(steps))
        run(
            "env",
            "DOCKER_BUILDKIT=0",
            "docker",
            "build",
            "--quiet",
            f"--file={dockerfile}",
            f"--tag={target}",
            str(self.root),
        )
        run("docker", "push", "--quiet", target)
        return 0

    def clean(self) -> None:
        remove_images(self.registry, self.repository)


@dataclass
class Buildah:
    """``buildah commit`` of a working container that holds the app, and ``buildah push``."""

    registry: Registry
    image: str
    root: Path
    storage: Path
    name: str = field(default_factory=lambda: f"bench-{uuid.uuid4().hex[:12]}")

    @property
    def repository(self) -> str:
        return f"bench/{self.name}"

    def prepare(self) -> None:
        self.buildah("from", "--tls-verify=false", "--name", self.name, f"docker://{self.image}")
        self.buildah("add", self.name, str(self.root), "/app")

    def change(self, code: str) -> None:
        self.buildah("add", self.name, str(self.root / code), f"/app/{code}")

    def export(self) -> int:
        self.buildah("commit", "--quiet", self.name, self.name)
        target = f"docker://{self.registry.host}/{self.repository}:latest"
        self.buildah("push", "--quiet", "--tls-verify=false", self.name, target)
        return 0

    def clean(self) -> None:
        self.buildah("rm", self.name)
        self.buildah("rmi", "--force", self.name)
        untag(self.registry, self.repository)

    def buildah(self, *arguments: str) -> None:
        run(
            "buildah",
            f"--root={self.storage}/root",
            f"--runroot={self.storage}/run",
            "--storage-driver=overlay",
            *arguments,
        )


def run(*command: str) -> None:
    """Runs to a good end, or says what the command said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:6])} … ended with {done.returncode}: {done.stderr.strip()[-500:]}")


def remove_images(registry: Registry, repository: str) -> None:
    """All of them: what was pushed has its digest for a name too, and stays where only its tag is removed."""
    name = f"{registry.host}/{repository}"
    listed = subprocess.run(["docker", "images", "--quiet", name], check=True, capture_output=True, text=True)
    if found := sorted(set(listed.stdout.split())):
        run("docker", "rmi", "--force", *found)
    untag(registry, repository)


def untag(registry: Registry, repository: str) -> None:
    """Leaves what was pushed to the registry's garbage collection."""
    if registry.has_manifest(repository, "latest"):
        _, _, digest = registry.get_manifest(repository, "latest")
        registry.delete_manifest(repository, digest)


def copy_tree(tree: Tree, to: Path) -> Path:
    """A copy with new inodes, as after a real rebuild."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    run("cp", "-a", str(tree.root), str(to))
    return to / "app"

"""One build of a tool: its package, fetched in a sandbox and verified, becomes an artifact of the registry."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from buildfarm.errors import NodeError, RecipeError, TooLargeError
from buildfarm.model import Build, BuildResult, ImageRequest, Layer, Phase
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import EMPTY_CONFIG, artifact
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import Descriptor, LayerDigests, media_types
from buildfarm.oci.registry import Registry
from buildfarm.recipes.catalogue import (
    ARTIFACT_TYPE,
    CATALOGUE_BYTES_MAX,
    CATALOGUE_FILE,
    MACHINE,
    PACKAGE,
    TOOLS,
    UNPACKED_BYTES,
    ToolPlan,
    parse_catalogue,
)
from workers import fetch
from workers.attempt.attempt import Attempt
from workers.attempt.finished import Finished, Publish
from workers.build_folder import BuildFolder, NotPlainError
from workers.image_builds.last_line import LastLine
from workers.image_builds.pipeline import ImageTools
from workers.ownership import attempt_name
from workers.sandbox.container import Sandbox
from workers.sandbox.tools.archive import TOP
from workers.sandbox.workspace import Workspace

_PROGRAM = "/usr/lib/buildfarm/make-tool"
_NOT_FETCHED, _OTHER_CONTENT = 3, 4


@contextmanager
def run(
    build: Build, request: ImageRequest, tools: ImageTools, attempt: Attempt, publish: Publish
) -> Iterator[Finished]:
    """Makes the tool that the catalogue describes, and yields the result.

    Raises AppError, FarmError and Interruption.
    """
    name = attempt_name(build.id, build.attempt)
    with ExitStack() as resources:
        with attempt.phase(Phase.PREPARE):
            workspace = resources.enter_context(tools.workspaces.make(name))
            image = tools.builders.current.image
            made = resources.enter_context(tools.sandboxes.make(image, name, workspace, {"HOME": "/tmp"}))
            sandbox = fetch.with_build_variables(tools.variables, made.bound(attempt.write, attempt.check))
            fetch.fetch(request.source, tools.registry, sandbox, tools.source_limits)
            plan = read_plan(request, workspace)
        with attempt.phase(Phase.COMPILE):
            attempt.say(f"Fetching {plan.package} {plan.version} from {plan.registry}")
            tree = make(plan, sandbox, workspace)
        with attempt.phase(Phase.EXPORT):
            layer = send_layer(tools.registry, request.repository, tree, threads=tools.threads)
            digest = send_manifest(tools.registry, request.repository, plan, layer)
            attempt.say(
                f"Tool {digest}, {layer.size_bytes / 1e6:.1f} MB, unpacked {layer.uncompressed_bytes / 1e6:.1f}"
            )
        result = BuildResult(
            repository=request.repository,
            digest=digest,
            tag=request.tag,
            layers=(
                Layer(
                    digest=layer.digest,
                    diff_id=layer.diff_id,
                    size_bytes=layer.size_bytes,
                    uncompressed_bytes=layer.uncompressed_bytes,
                    origin="tool",
                ),
            ),
            packages=(f"{plan.package}={plan.version}",),
            uploaded_bytes=layer.size_bytes,
            phase_seconds=dict(attempt.seconds),
            node=tools.node_id,
            attempt=build.attempt,
        )
        with attempt.phase(Phase.PUBLISH):
            publish(result)
        yield Finished.of(result, attempt.seconds)


def read_plan(request: ImageRequest, workspace: Workspace) -> ToolPlan:
    """What the catalogue that came with the request says of the tool. Raises RecipeError."""
    try:
        content = workspace.app.read(CATALOGUE_FILE, CATALOGUE_BYTES_MAX)
    except NotPlainError as error:
        raise RecipeError(f"The source's {CATALOGUE_FILE} {error}.") from error
    if content is None:
        raise RecipeError(f"The source has no {CATALOGUE_FILE} at its top.")
    return parse_catalogue(content).plan(request.image.removeprefix(f"{TOOLS}/"), request.version, platform.machine())


def make(plan: ToolPlan, sandbox: Sandbox, workspace: Workspace) -> BuildFolder:
    """The tool's files. Raises RecipeError, NodeError if its package cannot be fetched, and what the sandbox raises."""
    tail = LastLine(sandbox.log)
    command = ["python3", _PROGRAM]
    ended = sandbox.bound(tail.take, sandbox.check).run(command, stdin=[plan.model_dump_json().encode()])
    what = f"The tool {plan.name} {plan.version}"
    if ended.code == _NOT_FETCHED:
        raise NodeError(f"{what} could not be fetched: {tail.last}", advice="See whether nodes reach the registry.")
    if ended.code == _OTHER_CONTENT:
        raise RecipeError(
            f"{what} is refused: {tail.last}", advice="Correct the catalogue, or find out who changed it."
        )
    if workspace.full:
        raise TooLargeError(f"{what} filled its workspace.", advice="Raise BUILDFARM_WORKSPACE_BYTES.")
    if ended.code != 0:
        raise RecipeError(f"{what} could not be made: {tail.last or f'it ended with {ended.code}'}")
    sandbox.kill()
    try:
        return workspace.cache.folder(TOP)
    except NotPlainError as error:
        raise RecipeError(f"{what} left no files: {TOP} {error}.") from error


def send_layer(registry: Registry, repository: str, tree: BuildFolder, *, threads: int) -> LayerDigests:
    """Upload the files as one layer; the same files always give the same one. Raises RecipeError and RegistryError."""
    listing = tree.scan()
    odd = [*listing.left_out, *(item.name for item in listing.found if item.shape.startswith("l"))]
    if odd:
        raise RecipeError(f"The tool has something other than files and folders: {odd[0]}.")
    archive = tree.archive(listing.found, owner=0, plain_modes=True)

    def stream() -> LayerStream:
        return LayerStream(archive.argv, names=archive.names, compression="gzip", threads=threads, thorough=True)

    return registry.upload(repository, stream)


def send_manifest(registry: Registry, repository: str, plan: ToolPlan, layer: LayerDigests) -> Digest:
    """Writes the artifact, under its digest alone. Raises RegistryError."""
    types = media_types("oci")
    annotations = {
        "org.opencontainers.image.title": plan.name,
        "org.opencontainers.image.version": plan.version,
        MACHINE: plan.machine,
        PACKAGE: plan.origin,
        UNPACKED_BYTES: str(layer.uncompressed_bytes),
    }
    blob = Descriptor(types.layers["gzip"], layer.digest, layer.size_bytes)
    registry.put_blob(repository, EMPTY_CONFIG)
    manifest = artifact(ARTIFACT_TYPE, [blob], annotations=annotations)
    return registry.put_manifest(repository, manifest, types.manifest, tag=None)

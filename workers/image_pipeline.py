"""One image build from its recipe to its image: the phases in their order, as `pipeline` has them for apps."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from buildfarm.errors import NodeError, RecipeError
from buildfarm.model import Build, BuildResult, ImageRequest, Phase
from buildfarm.recipe import RECIPE_FILE, Plan, Recipe, parse_recipe
from workers import fetch
from workers.assembly import assemble
from workers.exporter import Exported
from workers.image_export import SlimImage, check_budget, make_image, send_image, write_archive
from workers.pipeline import Tools, attempt_name
from workers.prewarm import pull
from workers.progress import Progress
from workers.spec import smoke_image
from workers.workspace import Workspace


def run(
    build: Build,
    request: ImageRequest,
    tools: Tools,
    progress: Progress,
    *,
    publish: Callable[[Exported], None],
    accept: Callable[[BuildResult], None],
) -> None:
    """Builds the image that the recipe describes. Nothing is sent before its smoke test has passed, or tagged.

    Raises AppError, FarmError and Interruption.
    """
    name = attempt_name(build.id, build.attempt)
    log, check = progress.write, progress.check
    with ExitStack() as resources:
        with progress.phase(Phase.PREPARE):
            imager = pull(tools.sandboxes.client, tools.registry, _imager(tools))
            workspace = resources.enter_context(tools.workspaces.make(name))
            sandbox = resources.enter_context(tools.sandboxes.make(imager, name, workspace, {"HOME": "/tmp"}))
            fetch.fetch(request.source, tools.registry, sandbox, tools.source_limits, log=log, check=check)
            plan = plan_of(request, _read(workspace))
        with progress.phase(Phase.COMPILE):
            made = assemble(plan, sandbox, workspace, log=log, check=check)
            image = make_image(
                made.tree,
                plan,
                made.packages,
                workspace.own / "layer.tar.gz",
                kind=tools.exporter.media_types,
                threads=tools.exporter.threads,
            )
            progress.say(figures(image))
            check_budget(plan.budget_of(compiled=made.compiled), image, f"{plan.name} {plan.version}")
        with progress.phase(Phase.SMOKE):
            _try(plan, image, tools, workspace, progress=progress, name=name)
        with progress.phase(Phase.EXPORT):
            layer = send_image(tools.registry, request.repository, image)
            uploaded_bytes = 0 if layer.reused else layer.size_bytes
            progress.say(f"Image {image.image.digest}, {uploaded_bytes:,} bytes uploaded")
        with progress.phase(Phase.PUBLISH):
            publish(Exported(image.image, (layer,), uploaded_bytes))
        accept(
            BuildResult(
                repository=request.repository,
                digest=image.image.digest,
                tag=request.tag,
                layers=(layer,),
                packages=made.packages,
                uploaded_bytes=uploaded_bytes,
                phase_seconds=progress.seconds,
                node=tools.node_id,
                attempt=build.attempt,
            )
        )


def _imager(tools: Tools) -> str:
    if not tools.imager:
        raise NodeError(
            "This node knows no imager image.",
            advice="Set BUILDFARM_IMAGER to repository@sha256:… of one in the farm's registry, or run `buildfarm up`.",
        )
    return tools.imager


def plan_of(request: ImageRequest, recipe: Recipe) -> Plan:
    """What is to be made. Raises RecipeError where the recipe is another's, or pins no archive and none is given."""
    if recipe.name != request.image:
        raise RecipeError(f"The recipe is of {recipe.name}, and {request.image} was asked for.")
    plan = recipe.plan(request.version)
    return plan.with_archive(request.mirror, request.sha256)


def figures(image: SlimImage) -> str:
    """How large it is, for people."""
    layer = image.layer
    return f"{layer.uncompressed_bytes / 1e6:.2f} MB uncompressed, {layer.size_bytes / 1e6:.2f} MB compressed"


def _read(workspace: Workspace) -> Recipe:
    try:
        # The folder came from whoever asked: a link in it would lead to a file of the node.
        descriptor = os.open(workspace.app / RECIPE_FILE, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise RecipeError(f"The source has no {RECIPE_FILE} at its top: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        return parse_recipe(file.read())


def _try(plan: Plan, image: SlimImage, tools: Tools, workspace: Workspace, *, name: str, progress: Progress) -> None:
    archive = workspace.own / "image.tar"
    reference = smoke_image(tools.node_id, name)
    write_archive(image, reference, archive)
    with tools.smokes.loaded(archive, reference):
        tools.smokes.run(plan, reference, name, workspace.own, say=progress.say, check=progress.check)

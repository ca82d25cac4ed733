"""One image build from its recipe to its image: the phases in their order, as `pipeline` has them for apps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace

from buildfarm.config_vars.build_variables import CERTIFICATES, NO_VARIABLES, BuildVariables
from buildfarm.errors import NodeError, RecipeError, TooLargeError
from buildfarm.model import IMAGES, Build, BuildResult, ImageRequest, Phase
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Kind, LayerDigests
from buildfarm.oci.registry import Registry
from buildfarm.recipes.parts import Budget
from buildfarm.recipes.plan import DockerfilePlan, SlimPlan
from buildfarm.recipes.recipe import BASE, CHECKOUT, IMAGER, IMAGER_VERSION, RECIPE_BYTES_MAX, RECIPE_FILE, parse_recipe
from workers import fetch
from workers.attempt.attempt import Attempt
from workers.attempt.finished import Finished, Publish
from workers.attempt.signals import Check
from workers.build_folder import BuildFolder, NotPlainError
from workers.builder import Builders
from workers.engine import pull
from workers.image_builds.assembly import assemble
from workers.image_builds.dockerfile import DockerfileBuild, EngineLimits
from workers.image_builds.from_engine import read_image
from workers.image_builds.made_image import MadeImage, layers_of, send_image
from workers.image_builds.slim import check_budget, make_image, write_archive
from workers.image_builds.smoke import SmokeTests
from workers.ownership import attempt_name, smoke_image
from workers.sandbox.container import Sandbox, Sandboxes
from workers.sandbox.workspace import Workspace, Workspaces
from workers.upkeep.step_images import StepImages


@dataclass(frozen=True)
class ImageTools:
    """What images of the farm are built with on this node; shared by all of its builds."""

    node_id: str
    builders: Builders  # the sandbox that unpacks a recipe's folder
    source_limits: fetch.SourceLimits
    registry: Registry
    workspaces: Workspaces
    sandboxes: Sandboxes
    media_types: Kind
    threads: int  # that compress layers
    imager: str  # the image that slim images are built in, repository@digest; pulled for the first one
    smokes: SmokeTests
    steps: StepImages
    variables: BuildVariables = NO_VARIABLES  # of one attempt

    def during(self, check: Check) -> ImageTools:
        """The same tools for one attempt: what ``check`` raises ends their long calls."""
        return replace(self, builders=Builders(self.builders.current), registry=self.registry.during(check))


@contextmanager
def run(
    build: Build, request: ImageRequest, tools: ImageTools, attempt: Attempt, publish: Publish
) -> Iterator[Finished]:
    """Builds the image that the recipe describes, and yields the result. Nothing is sent before its smoke test passes.

    Raises AppError, FarmError and Interruption.
    """
    name = attempt_name(build.id, build.attempt)
    with ExitStack() as resources:
        with attempt.phase(Phase.PREPARE):
            workspace = resources.enter_context(tools.workspaces.make(name))
            steps = _Steps(name, tools, workspace, attempt, resources)
            plan = steps.fetch(request)
            needed = pull(tools.sandboxes.client, tools.registry, _needed(plan, tools))
        with attempt.phase(Phase.COMPILE):
            made = (
                steps.assemble(plan, needed)
                if isinstance(plan, SlimPlan)
                else steps.build(plan, needed, layers_of(tools.registry, request.repository, request.tag))
            )
            attempt.say(figures(made.image))
            check_budget(made.budget, made.image, f"{plan.name} {plan.version}")
        with attempt.phase(Phase.SMOKE), made.on_engine():
            tools.smokes.run(plan, steps.image, name, workspace.own, say=attempt.say, check=attempt.check)
        with attempt.phase(Phase.EXPORT):
            layers = send_image(tools.registry, request.repository, made.image)
            uploaded_bytes = sum(layer.size_bytes for layer in layers if not layer.reused)
            attempt.say(f"Image {made.image.image.digest}, {uploaded_bytes:,} bytes uploaded")
        result = BuildResult(
            repository=request.repository,
            digest=made.image.image.digest,
            tag=request.tag,
            layers=layers,
            packages=made.packages,
            uploaded_bytes=uploaded_bytes,
            phase_seconds=dict(attempt.seconds),
            node=tools.node_id,
            attempt=build.attempt,
        )
        with attempt.phase(Phase.PUBLISH):
            publish(result)
        yield Finished.of(result, attempt.seconds)


@dataclass(frozen=True)
class _Made:
    """What compile hands on, of either kind of recipe."""

    image: MadeImage
    budget: Budget
    packages: tuple[str, ...]
    on_engine: Callable[[], AbstractContextManager[None]]  # it can be tried for the length of the block


@dataclass(frozen=True)
class _Steps:
    """One attempt, and the steps that differ between the kinds of recipe."""

    name: str
    tools: ImageTools
    workspace: Workspace
    attempt: Attempt
    resources: ExitStack

    @property
    def image(self) -> str:
        """What the image under test is called on the engine."""
        return smoke_image(self.tools.node_id, self.name)

    def fetch(self, request: ImageRequest) -> SlimPlan | DockerfilePlan:
        """The recipe's folder, and what is to be made of it."""
        # The builder's sandbox unpacks it, which every node has: the imager may be what is to be built.
        with self._sandbox(self.tools.builders.current.image) as sandbox:
            fetch.fetch(request.source, self.tools.registry, sandbox, self.tools.source_limits)
        return plan_of(request, read_recipe(self.workspace))

    def assemble(self, plan: SlimPlan, imager: str) -> _Made:
        """The image of packages' files."""
        with self._sandbox(imager) as sandbox:
            made = assemble(plan, sandbox, self.workspace)
        own = self.workspace.own
        image = make_image(
            made.tree,
            plan,
            made.packages,
            own / "layer.tar.gz",
            kind=self.tools.media_types,
            threads=self.tools.threads,
        )

        def on_engine() -> AbstractContextManager[None]:
            write_archive(image, self.image, own / "image.tar")
            return self.tools.smokes.loaded(own / "image.tar", self.image)

        return _Made(image, plan.budget_of(compiled=made.compiled), made.packages, on_engine)

    def build(self, plan: DockerfilePlan, base: str, known: Mapping[Digest, LayerDigests]) -> _Made:
        """The image of a Dockerfile, which stays on the engine until the attempt ends."""
        sandboxes, attempt = self.tools.sandboxes, self.attempt
        spec = sandboxes.spec
        limits = EngineLimits(spec.network, sandboxes.silence_seconds, spec.memory_bytes, spec.cpus, spec.ca_bundle)
        trusted = self.tools.variables.files.get(CERTIFICATES, "")
        making = DockerfileBuild(
            sandboxes.client,
            read_checkout(self.workspace),
            plan.dockerfile,
            base,
            self.image,
            limits,
            proxies=self.tools.variables.proxies,
            certificates=trusted,
            log=attempt.write,
            check=attempt.check,
        )
        note = self.resources.enter_context(self.tools.steps.of(self.name))
        self.resources.enter_context(making.held(note))
        try:
            image = read_image(
                sandboxes.client,
                self.image,
                self.workspace.own,
                kind=self.tools.media_types,
                check=attempt.check,
                known=known,
            )
        except NodeError as error:
            if not self.workspace.full:
                raise
            raise TooLargeError(
                f"{plan.name} {plan.version} does not fit into a workspace.", advice="Raise BUILDFARM_WORKSPACE_BYTES."
            ) from error
        return _Made(image, plan.budget, (), nullcontext)

    @contextmanager
    def _sandbox(self, image: str) -> Iterator[Sandbox]:
        with self.tools.sandboxes.make(image, self.name, self.workspace, {"HOME": "/tmp"}) as sandbox:
            bound = sandbox.bound(self.attempt.write, self.attempt.check)
            yield fetch.with_build_variables(self.tools.variables, bound)


def _needed(plan: SlimPlan | DockerfilePlan, tools: ImageTools) -> str:
    """The image of the registry that this one is made in or stands on, as repository@digest."""
    if isinstance(plan, SlimPlan) and tools.imager:
        return tools.imager
    name, tag = (IMAGER, IMAGER_VERSION) if isinstance(plan, SlimPlan) else (BASE, plan.suite)
    repository = f"{IMAGES}/{name}"
    try:
        return f"{repository}@{tools.registry.get_manifest(repository, tag)[2]}"
    except NotInRegistryError as error:
        raise RecipeError(
            f"{plan.name} is made from {repository}:{tag}, which is not in the registry.",
            advice="`buildfarm up` pushes it; docs/images.md says how to push it without.",
        ) from error


def plan_of(request: ImageRequest, content: bytes) -> SlimPlan | DockerfilePlan:
    """What is to be made. Raises RecipeError if the recipe is another's, or pins no archive and none is given."""
    recipe = parse_recipe(content)
    if recipe.name != request.image:
        raise RecipeError(f"The recipe is of {recipe.name}, and {request.image} was requested.")
    plan = recipe.plan(request.version)
    return plan.with_archive(request.mirror, request.sha256) if isinstance(plan, SlimPlan) else plan


def figures(image: MadeImage) -> str:
    """How large it is, for people."""
    return f"{image.uncompressed_bytes / 1e6:.2f} MB uncompressed, {image.size_bytes / 1e6:.2f} MB compressed"


def read_recipe(workspace: Workspace) -> bytes:
    """What came as a recipe. Raises RecipeError if there is none."""
    try:
        recipe = workspace.app.read(RECIPE_FILE, RECIPE_BYTES_MAX)
    except NotPlainError as error:
        raise RecipeError(f"The source's {RECIPE_FILE} {error}.") from error
    if recipe is None:
        raise RecipeError(f"The source has no {RECIPE_FILE} at its top.")
    return recipe


def read_checkout(workspace: Workspace) -> BuildFolder:
    """What came beside the recipe for its Dockerfile. Raises RecipeError if there is none."""
    try:
        return workspace.app.folder(CHECKOUT)
    except NotPlainError as error:
        raise RecipeError(f"The source's folder {CHECKOUT} {error}.") from error

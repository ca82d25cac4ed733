"""One build from its source to its image: the phases in their order. Knows neither Redis nor Celery."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from buildfarm.config_vars.build_variables import NO_VARIABLES, BuildVariables
from buildfarm.model import Build, BuildRequest, BuildResult, Phase
from buildfarm.oci.registry import Registry
from buildfarm.releases.builder import RELEASE_APART
from workers import buildpacks, fetch
from workers.attempt.attempt import Attempt
from workers.attempt.finished import Finished, Publish
from workers.attempt.signals import Check
from workers.builder import Builder, Builders
from workers.caches import Caches, Restored
from workers.export.exporter import Exporter
from workers.fetch.downloads import NO_DOWNLOADS, Downloads
from workers.ownership import attempt_name
from workers.sandbox.container import Sandbox, Sandboxes
from workers.sandbox.pool import SandboxPool
from workers.sandbox.workspace import Workspace, Workspaces


@dataclass(frozen=True)
class AppTools:
    """What apps are built with on this node; shared by all of its builds."""

    node_id: str
    compile_network: bool
    source_limits: fetch.SourceLimits
    builders: Builders
    registry: Registry
    workspaces: Workspaces
    sandboxes: Sandboxes
    pool: SandboxPool
    exporter: Exporter
    caches: Caches
    profile: buildpacks.Profile
    fetcher: buildpacks.BuildpackFetcher
    variables: BuildVariables = NO_VARIABLES  # of one attempt
    downloads: Downloads = NO_DOWNLOADS  # likewise, from `begun`
    private: fetch.Private | None = None  # likewise; None: no credential counts for the build

    def during(self, check: Check, build: Build | None = None) -> AppTools:
        """The same tools for one attempt at a build: what ``check`` raises ends their long calls."""
        return replace(
            self,
            pool=self.pool.of(build),
            source_limits=self.source_limits.of(self.pool.of(build).disk_bytes),
            # One and the same builder to the attempt's end, whatever becomes of its channel meanwhile.
            builders=Builders(self.builders.of(build.base if build else "")),
            registry=self.registry.during(check),
            exporter=self.exporter.during(check, channel=build.channel if build else ""),
            caches=self.caches.during(check),
            fetcher=self.fetcher.during(check),
        )

    def remove_partial(self) -> None:
        """Remove copies that a killed process left half-written; for the node's start."""
        self.caches.start()
        self.fetcher.remove_partial()

    @property
    def builder(self) -> Builder:
        """What the build stands on."""
        return self.builders.current

    @property
    def stack(self) -> str:
        """The builder's."""
        return self.builder.stack


@contextmanager
def run(build: Build, request: BuildRequest, tools: AppTools, attempt: Attempt, publish: Publish) -> Iterator[Finished]:
    """Builds, and yields the result while the workspace is there. After the block the cache is kept.

    ``request`` has its config vars. ``publish`` makes the image the newest. Raises AppError, FarmError, Interruption.
    """
    name = attempt_name(build.id, build.attempt)
    with ExitStack() as resources:
        with attempt.phase(Phase.PREPARE):
            environment = buildpacks.environment(build, tools.stack)
            pooled = tools.pool.take(name, tools.builder.image, environment, log=attempt.write, check=attempt.check)
            workspace, sandbox = resources.enter_context(pooled)
            source = _prepare(request, tools, workspace, sandbox)
        with attempt.phase(Phase.DETECT):
            chosen = buildpacks.detect(request, source.manifest, tools.fetcher, source.steps, source.names)
            restored = tools.caches.keep_for(chosen.names, source.restored, sandbox)
        with attempt.phase(Phase.COMPILE):
            if not tools.compile_network:
                sandbox.cut_off()
            previous = buildpacks.read_previous(tools.registry, request) if chosen.group else buildpacks.PreviousImage()
            built = buildpacks.build(chosen, workspace, source.steps, tools.profile, previous)
        with attempt.phase(Phase.EXPORT):
            workspace.freeze(sandbox.kill, layers=built.cnb is not None)
            exported = tools.exporter.export(
                workspace.app,
                tools.builder,
                request,
                source_names=source.names,
                left_out=source.left_out,
                process_types=built.process_types,
                launch=buildpacks.launch_layers(built, workspace, previous),
                secrets=buildpacks.refuse_secrets(built, request, tools.variables.secrets),
                unchanged=restored.unchanged if restored else {},
                variables=built.variables_on(tools.builder.base.variables),
                labels=lambda sent: buildpacks.image_labels(built, request, source.version, sent),
            )
            workspace.check_written()
            attempt.say(f"Image {exported.image.digest}, {exported.uploaded_bytes:,} bytes uploaded", built.warning)
        result = BuildResult(
            repository=request.repository,
            digest=exported.image.digest,
            tag=request.tag,
            layers=exported.layers,
            process_types=dict(built.process_types),
            buildpacks=built.used,
            formation=dict(source.manifest.formation),
            uploaded_bytes=exported.uploaded_bytes,
            phase_seconds=dict(attempt.seconds),
            node=tools.node_id,
            attempt=build.attempt,
            warning=built.warning,
        )
        with attempt.phase(Phase.PUBLISH):
            publish(result, pinned=source.manifest.pinned)
        with tools.caches.saving(request):
            yield Finished.of(result, attempt.seconds, pinned=source.manifest.pinned)
            tools.caches.save(request, tools.stack, chosen.names, workspace, restored)


@dataclass(frozen=True)
class _Prepared:
    """What the phase prepare hands on."""

    version: str  # what the build sees as SOURCE_VERSION
    names: frozenset[str]  # of what came in with the source
    left_out: frozenset[str]  # names that do not come into the image
    manifest: buildpacks.AppManifest
    restored: Restored | None
    steps: buildpacks.Steps


def _prepare(request: BuildRequest, tools: AppTools, workspace: Workspace, sandbox: Sandbox) -> _Prepared:
    """Fills the sandbox with the app's cache, its source, its variables and config vars."""
    sandbox = fetch.with_build_variables(tools.variables, sandbox)
    restored = tools.caches.restore(request, tools.stack, workspace, sandbox)
    version = fetch.fetch(request.source, tools.registry, sandbox, tools.source_limits, tools.private)
    sandbox = sandbox.with_variables({"SOURCE_VERSION": version})
    if tools.profile.project_dir and (folder := request.env.get("PROJECT_DIR")):
        fetch.enter(folder, sandbox)
    names = fetch.names_of(workspace.app, sandbox, request.source)
    manifest = buildpacks.read_manifests(workspace.app, sandbox.log)
    variables, base = {**manifest.env, **request.env}, tools.builder.base.variables
    fetch.write_config_vars(variables, sandbox)
    steps = buildpacks.Steps(
        tools.downloads.led(sandbox, workspace.app, tools.variables, (*variables, *base), names),
        vars_in_environment=tools.profile.config_vars_in_environment and bool(variables),
        release_apart=tools.builder.platform == RELEASE_APART,
    )
    left_out = buildpacks.leave_out(workspace.app, steps, tools.profile, manifest)
    return _Prepared(version, names, left_out, manifest, restored, steps)

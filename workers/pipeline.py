"""One build from its source to its image: the phases in their order. Knows neither Redis nor Celery."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from buildfarm.builder import RELEASE_APART
from buildfarm.model import Build, BuildRequest, BuildResult, Phase
from buildfarm.oci.registry import Registry
from workers import buildpacks, fetch
from workers.attempt.attempt import Attempt
from workers.builder import Builder, Builders
from workers.buildpacks import read_file
from workers.buildpacks.previous import PreviousImage, read_previous
from workers.cache import Caches
from workers.export.exporter import Exporter
from workers.ownership import attempt_name
from workers.sandbox.container import Sandboxes
from workers.sandbox.pool import SandboxPool
from workers.sandbox.workspace import Workspaces


@dataclass(frozen=True)
class AppTools:
    """What apps are built with on this node; shared by all of its builds."""

    node_id: str
    stack: str
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

    def during(self, check: Callable[[], None]) -> AppTools:
        """The same tools for one attempt: what ``check`` raises ends their long calls."""
        return replace(
            self,
            # One and the same builder to the attempt's end, whatever is promoted meanwhile.
            builders=Builders(self.builder),
            registry=self.registry.during(check),
            exporter=self.exporter.during(check),
        )

    def remove_partial(self) -> None:
        """Remove copies that a killed process left half-written; for the node's start."""
        self.caches.remove_partial()
        self.fetcher.cache.remove_partial()

    @property
    def builder(self) -> Builder:
        """What the next build stands on."""
        return self.builders.current


def run(
    build: Build,
    request: BuildRequest,
    tools: AppTools,
    attempt: Attempt,
    *,
    publish: Callable[[BuildResult], None],
    accept: Callable[[BuildResult, bool], None],
) -> None:
    """Builds, and hands the result to ``accept``; only then the cache is kept and the sandbox cleared away.

    ``publish`` makes the image the app's newest. ``accept`` is also told whether all buildpacks that the app's files
    name are pinned: if not, an equal request may give another image. Raises AppError, FarmError and Interruption.
    """
    name = attempt_name(build.id, build.attempt)
    with ExitStack() as resources:
        with attempt.phase(Phase.PREPARE):
            workspace, sandbox = resources.enter_context(
                tools.pool.take(name, tools.builder.image, _environment(build, tools.stack))
            )
            version = fetch.fetch(
                request.source,
                tools.registry,
                sandbox,
                tools.source_limits,
                log=attempt.write,
                check=attempt.check,
            )
            sandbox = replace(sandbox, environment={**sandbox.environment, "SOURCE_VERSION": version})
            if tools.profile.project_dir and (folder := request.env.get("PROJECT_DIR")):
                fetch.enter(folder, sandbox, log=attempt.write, check=attempt.check)
            source_names = frozenset(item.name for item in workspace.app.scan().found)
            restored = tools.caches.restore(request, tools.stack, sandbox, log=attempt.write, check=attempt.check)
            manifest = buildpacks.read_manifests(lambda name: read_file(workspace.app, name))
            variables = {**manifest.env, **request.env}
            fetch.write_config_vars(variables, sandbox, log=attempt.write, check=attempt.check)
            steps = buildpacks.Steps(
                sandbox,
                attempt.write,
                attempt.check,
                vars_in_environment=tools.profile.config_vars_in_environment and bool(variables),
                release_apart=tools.builder.platform == RELEASE_APART,
            )
            left_out = buildpacks.leave_out(workspace.app, steps, tools.profile)
        with attempt.phase(Phase.DETECT):
            chosen = buildpacks.detect(request, manifest, tools.fetcher, steps)
            restored = tools.caches.keep_for(chosen.names, restored, sandbox, log=attempt.write, check=attempt.check)
        with attempt.phase(Phase.COMPILE):
            if not tools.compile_network:
                sandbox.cut_off()
            previous = read_previous(tools.registry, request) if chosen.group else PreviousImage()
            built = buildpacks.build(chosen, workspace, steps, tools.profile, previous)
            buildpacks.refuse_secrets(built, [request.env[name] for name in request.secrets])
        with attempt.phase(Phase.EXPORT):
            sandbox.kill()
            workspace.freeze()
            exported = tools.exporter.export(
                workspace.app,
                tools.builder,
                request,
                source_names=source_names,
                process_types=built.process_types,
                variables=built.config_vars,
                labels=_labels(build, version, tools.builder),
                left_out=left_out,
                launch=buildpacks.launch_layers(built, request, tools.builder, workspace, previous),
            )
            attempt.say(f"Image {exported.image.digest}, {exported.uploaded_bytes:,} bytes uploaded")
        result = BuildResult(
            repository=request.repository,
            digest=exported.image.digest,
            tag=request.tag,
            layers=exported.layers,
            process_types=dict(built.process_types),
            buildpacks=built.used,
            formation=dict(manifest.formation),
            uploaded_bytes=exported.uploaded_bytes,
            phase_seconds=dict(attempt.seconds),
            node=tools.node_id,
            attempt=build.attempt,
        )
        with attempt.phase(Phase.PUBLISH):
            publish(result)
        pinned = all(item.pinned for item in manifest.buildpacks)
        accept(result.model_copy(update={"phase_seconds": dict(attempt.seconds)}), pinned)
        tools.caches.save(request, tools.stack, chosen.names, workspace.cache, restored)


def _environment(build: Build, stack: str) -> Mapping[str, str]:
    """What the classic contract promises to buildpacks beside their arguments."""
    return {
        "HOME": "/app",
        "APP_DIR": "/app",
        "APP": build.request.app,
        "STACK": stack,
        "REQUEST_ID": build.id,
        "CURL_CONNECT_TIMEOUT": "30",
        "CURL_TIMEOUT": "180",
        # Older buildpacks count into it; what they count has no reader any more.
        "BUILDPACK_LOG_FILE": "/dev/null",
    }


def _labels(build: Build, version: str, builder: Builder) -> Mapping[str, str]:
    """Standard annotations (image-spec annotations.md). Nothing of this one build: the same source, the same image."""
    return {
        "org.opencontainers.image.title": f"{build.request.tenant}/{build.request.app}",
        "org.opencontainers.image.revision": version,
        "org.opencontainers.image.base.name": builder.repository,
        "org.opencontainers.image.base.digest": builder.digest,
    }
